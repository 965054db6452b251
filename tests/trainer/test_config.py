from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from trainer.config import ProjectConfig, TrainConfig, digest_of, load_config
from trainer.errors import ConfigError
from trainer.train_config import RetrievalConfig

MINIMAL = """
name = "tiny"
work_dir = "work"
[features]
splits = ["leave_last_out", "by_time"]
"""


@pytest.fixture
def load(tmp_path):
    def read(text: str) -> ProjectConfig:
        file = tmp_path / "project.toml"
        file.write_text(text)
        return load_config(file)

    return read


def refused(load, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(text)
    return str(error.value)


def tables_of(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """Every table below a model, by its dotted name."""
    found = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name != "features":
            found |= {prefix + name: kind, **tables_of(kind, f"{prefix}{name}.")}
    return found


TABLES = tables_of(ProjectConfig)


def test_a_minimal_file_says_where_everything_is(load):
    config = load(MINIMAL)
    assert config.dataset_dir("by_time") == Path("work/by_time/dataset")
    assert config.run_dir("by_time") == Path("work/by_time/model")
    assert config.evaluation_file("by_time") == Path("work/by_time/evaluation.json")
    assert config.encoder() == str(Path("work/encoder"))
    assert (
        load(MINIMAL + '[train.text]\nencoder = "bert_tiny_en_uncased"').encoder() == "bert_tiny_en_uncased"
    )


def test_the_tables_of_others_are_not_looked_into(load):
    load(MINIMAL + "anything = 1\n[fetch]\nwhatever = true\n")


def test_there_are_tables_on_three_levels():
    assert {"train", "train.model", "train.model.history", "evaluate", "export"} <= set(TABLES)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_an_unknown_key_is_refused_with_the_nearest_name(load, table):
    known = next(iter(TABLES[table].model_fields))
    typo = known[:-1] + known[-1] * 2
    message = refused(load, f"{MINIMAL}\n[{table}]\n{typo} = 1\n")
    assert f"unknown key '{table}.{typo}'; did you mean '{known}'?" in message
    assert "project.toml" in message


def test_an_unknown_table_is_refused_with_the_nearest_name(load):
    assert "unknown key 'trian'; did you mean 'train'?" in refused(load, MINIMAL + "[trian]\n")
    assert "known are name, work_dir, fetch, features, train" in refused(load, MINIMAL + "[zzz]\n")


def test_a_name_like_no_other_is_answered_with_all_of_them(load):
    assert "known are seed, epochs, patience" in refused(load, MINIMAL + "[train]\nzzz = 1\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[train]\nepochs = 0", ["train.epochs", "greater than or equal to 1", "(came: 0)"]),
        ("[train]\nlearning_rate = inf", ["train.learning_rate", "finite", "(came: inf)"]),
        ("[train]\nlearning_rate = nan", ["train.learning_rate"]),
        ('[train]\nepochs = "many"', ["train.epochs", "(came: 'many')"]),
        ("[train.model.item]\nid_dropout = 1.0", ["train.model.item.id_dropout", "less than 1"]),
        ('[train.retrieval]\nsimilarity = "l2"', ["train.retrieval.similarity", "'dot' or 'cosine'"]),
        ("[train.retrieval]\ntemperature = 0", ["train.retrieval.temperature"]),
        ("[train.model]\nembedding_dim = 10\nhistory.heads = 4", ["train.model", "heads = 4 must divide"]),
        ("[evaluate]\nks = []", ["evaluate.ks"]),
        ("[evaluate]\nks = [10, 0]", ["evaluate.ks.1", "(came: 0)"]),
        ('[evaluate]\nbaselines = ["magic"]', ["evaluate.baselines.0", "'magic'"]),
        ("[export]\nwarmup_batch_sizes = [0]", ["export.warmup_batch_sizes.0"]),
    ],
)
def test_an_impossible_value_is_refused_with_its_place(load, text, expected):
    message = refused(load, f"{MINIMAL}\n{text}\n")
    for part in ("project.toml", *expected):
        assert part in message


def test_every_problem_is_told_at_once(load):
    message = refused(load, MINIMAL + "[train]\nepochs = 0\nbatch_size = 0\n")
    assert len(message.splitlines()) == 2


def test_what_is_missing_is_named(load):
    assert "work_dir: Field required" in refused(load, 'name = "a"\n[features]\nsplits = ["by_time"]')
    assert "features.splits" in refused(load, 'name = "a"\nwork_dir = "w"\n[features]\nsplits = []')
    assert "features.splits.0" in refused(load, 'name = "a"\nwork_dir = "w"\n[features]\nsplits = ["x"]')


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_name_becomes_a_folder_and_so_must_be_plain(load, name):
    assert "name: " in refused(load, MINIMAL.replace('"tiny"', f'"{name}"'))


def test_files_that_cannot_be_read(load, tmp_path):
    assert "not valid TOML" in refused(load, "name = ")
    with pytest.raises(ConfigError, match="Cannot read the configuration"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "latin.toml")


def test_a_split_must_be_listed(load):
    config = load(MINIMAL)
    assert config.splits(None) == ("leave_last_out", "by_time")
    assert config.splits("by_time") == ("by_time",)
    one = load(MINIMAL.replace(', "by_time"', ""))
    with pytest.raises(ConfigError, match=r"features\.splits = leave_last_out\. Choose one of them"):
        one.splits("by_time")


@pytest.mark.parametrize(
    ("text", "excludes"),
    [
        ("", True),
        ("[train]\nrepeats = true", False),
        ("[train]\nrepeats = true\n[evaluate]\nexclude_history = true", True),
        ("[evaluate]\nexclude_history = false", False),
    ],
)
def test_histories_leave_the_ranking_as_in_serving_unless_told_otherwise(load, text, excludes):
    assert load(MINIMAL + text).excludes_history is excludes


def test_settings_cannot_be_changed_after_they_were_checked(load):
    with pytest.raises(ValueError, match="frozen"):
        load(MINIMAL).train.epochs = 3


settings_of_training = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31),
        "learning_rate": st.floats(1e-6, 1.0),
        "text": st.fixed_dictionaries({}, optional={"encoder": st.none() | st.text(max_size=5)}),
        "model": st.fixed_dictionaries(
            {}, optional={"embedding_dim": st.sampled_from([8, 64]), "query_text": st.booleans()}
        ),
        "ranking": st.fixed_dictionaries({}, optional={"value_weight": st.floats(0, 3)}),
    },
)


@settings(deadline=None, max_examples=50)
@given(settings_of_training, st.lists(st.integers(1, 100), min_size=1, max_size=4))
def test_what_is_written_down_is_read_as_the_same(train, ks):
    document = {
        "name": "tiny",
        "work_dir": "work",
        "features": {"splits": ["by_time"]},
        "train": train,
        "evaluate": {"ks": ks},
    }
    config = ProjectConfig.model_validate(document)
    dumped = config.model_dump(mode="json")
    again = ProjectConfig.model_validate(dumped)
    assert again == config
    assert again.model_dump(mode="json") == dumped
    assert digest_of(again.train) == digest_of(config.train)


def test_digests_tell_settings_apart():
    one, two = TrainConfig(), TrainConfig(seed=43)
    assert digest_of(one) == digest_of(TrainConfig())
    assert digest_of(one) != digest_of(two)
    assert digest_of(one, "a") != digest_of(one, "b")
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def settings_of(model: type[BaseModel]) -> list[tuple[str, str | None]]:
    """Name and description of every setting, those of inner tables too."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += [(f"{name}.{place}", text) for place, text in settings_of(inner)]
        else:
            found.append((name, field.description))
    return found


def test_every_setting_of_the_training_says_what_it_is_for():
    found = settings_of(TrainConfig)
    assert len(found) > 50
    assert [name for name, description in found if not description] == []


def test_a_sampled_softmax_without_negatives_is_refused():
    nothing = {"in_batch_negatives": False, "uniform_negatives": 0}
    with pytest.raises(ValidationError, match="needs negatives"):
        RetrievalConfig.model_validate(nothing)
    for more in ({"popularity_negatives": 1}, {"softmax": "full"}, {"softmax": "distinct"}):
        assert RetrievalConfig.model_validate(nothing | more)
