"""The literals that packages repeat because they do not import each other: here the copies are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

pytest.importorskip("apache_beam", reason="needs twotower[beam]")
pytest.importorskip("tensorflow", reason="needs twotower[train]")

from beam_pipelines import config as beam_config
from beam_pipelines import contract as dataset_contract
from beam_pipelines.errors import ConfigError as BeamConfigError
from beam_pipelines.requests import as_request
from beam_pipelines.scoring import rows
from beam_pipelines.settings import Protocol
from serving import fake_model
from serving.cli_options import _CONNECTION
from serving.client import queries, requests
from serving.client.queries import UserQuery
from serving.server import signature as server_signature
from serving.server import warmup as server_warmup
from serving.server.options import ServerOptions
from trainer import config as trainer_config
from trainer import contract, dataset, signatures, warmup
from trainer.errors import ConfigError as TrainerConfigError
from trainer.lint import file_checks, signature_checks
from trainer.rules import list_rules

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    file for file in (ROOT / "examples").glob("*.toml") if "[features]" in file.read_text("utf-8")
)


def test_the_dataset_directory_has_one_format_and_one_set_of_file_names() -> None:
    paths = dataset_contract.DatasetPaths(Path("d"))
    assert (dataset_contract.FORMAT, dataset_contract.VERSION) == (
        contract.DATASET_FORMAT,
        contract.DATASET_VERSION,
    )
    assert [paths.schema.name, paths.manifest.name, paths.titles.name, paths.keywords.name] == [
        contract.SCHEMA_FILE,
        contract.DATASET_FILE,
        contract.TITLES_FILE,
        contract.KEYWORDS_FILE,
    ]


def test_roles_and_dtypes_are_the_same() -> None:
    assert get_args(dataset_contract.Role) == contract.ROLES
    assert get_args(get_type_hints(dataset_contract.Feature)["dtype"]) == dataset._DTYPES


def test_wishes_are_separated_by_the_same_character() -> None:
    assert queries.WISH_SEPARATOR == rows.WISH_SEPARATOR == contract.WISH_SEPARATOR


def test_split_protocols_are_the_same() -> None:
    assert get_args(Protocol) == contract.SPLIT_PROTOCOLS


def _every_role() -> dataset_contract.Schema:
    """A schema in which each role, dtype and kind of shape occurs."""
    shapes: dict[str, tuple[int | None, ...]] = {
        "item_category": (None,), "item_keyword": (None,), "item_text_variant": (None,), "item_vector": (3,),
    }  # fmt: skip
    dtypes = {"timestamp": "int64", "target_start": "int64", "value": "float32", "weight": "float32"}

    def feature(role: Any) -> dataset_contract.Feature:
        dtype: Any = dtypes.get(role, "float32" if role in ("item_numeric", "item_vector") else "string")
        default = None if role in shapes else {"string": "", "int64": 0, "float32": 0.5}[dtype]
        return dataset_contract.Feature(
            role, dtype, shapes.get(role, ()), role, "A sentence.", default, f"vocab/{role}.txt"
        )

    items = tuple(feature(r) for r in contract.ROLES if r.startswith("item_"))
    rest = tuple(feature(r) for r in contract.ROLES if r == "item_id" or not r.startswith("item_"))
    return dataset_contract.Schema(items, rest)


def test_the_trainer_reads_the_schema_that_the_pipelines_write(tmp_path: Path) -> None:
    schema = _every_role()
    paths = dataset_contract.DatasetPaths(tmp_path)
    paths.schema.write_text(dataset_contract.canonical_json(schema.to_json()), "utf-8")
    manifest = {"format": dataset_contract.FORMAT, "version": dataset_contract.VERSION, "splits": {}}
    paths.manifest.write_text(json.dumps(manifest), "utf-8")
    read = dataset.DatasetDirectory.open(tmp_path)
    fields = ("name", "role", "dtype", "shape", "default", "vocabulary")
    for table in ("items", "sequences"):
        wrote, came = getattr(schema, table), read.table(table)
        assert [[getattr(f, name) for name in fields] for f in came] == [
            [getattr(f, name) for name in fields] for f in wrote
        ]
    assert {f.role for f in (*read.items, *read.sequences)} == set(contract.ROLES)


def test_config_files_have_one_set_of_tables() -> None:
    assert beam_config.TOP_LEVEL == contract.CONFIG_KEYS


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_both_readers_of_an_example_config_agree(file: Path) -> None:
    pipelines, training = beam_config.load_config(file), trainer_config.load_config(file)
    assert pipelines.name == training.name
    assert pipelines.work_dir == training.work_dir
    splits = pipelines.required_features().splits
    assert splits == training.splits(None)
    assert [pipelines.dataset_dir(s) for s in splits] == [training.dataset_dir(s) for s in splits]


def test_the_pipelines_fetch_for_a_config_that_only_classifies_texts() -> None:
    file = ROOT / "examples" / "banking77.toml"
    assert beam_config.load_config(file).features is None
    assert beam_config.load_config(file).fetch.encoder == "minilm"


def test_both_readers_refuse_an_unknown_table_and_name_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "typo.toml"
    file.write_text('name = "typo"\nwork_dir = "w"\n[trian]\n[features]\nsplits = ["by_time"]\n', "utf-8")
    for load, error in (
        (beam_config.load_config, BeamConfigError),
        (trainer_config.load_config, TrainerConfigError),
    ):
        with pytest.raises(error, match=r"(?s)typo\.toml.*'trian'.*train"):
            load(file)


def test_warm_up_records_lie_where_the_server_and_the_linter_look() -> None:
    place = f"{contract.EXTRA_ASSETS}/{contract.WARMUP_FILE}"
    assert server_warmup.WARMUP_FILE.as_posix() == place == file_checks.WARMUP_FILE
    assert server_warmup.MAX_RECORDS == warmup._MOST == file_checks.MAX_WARMUP_RECORDS


def test_the_default_signature_has_one_name() -> None:
    assert server_signature.DEFAULT_NAME == contract.DEFAULT_SIGNATURE == signature_checks.DEFAULT_SIGNATURE


def test_the_client_knows_the_inputs_of_the_query_side() -> None:
    query_side = {
        contract.HISTORY_ITEM_ID,
        contract.HISTORY_TIMESTAMP,
        contract.HISTORY_EVENT,
        contract.QUERY,
    }
    assert query_side | set(contract.RULES) == requests.QUERY_INPUTS
    assert requests.HISTORY == contract.HISTORY_ITEM_ID
    assert set(contract.RESERVED_INPUTS) == requests.QUERY_INPUTS | {contract.ITEM_ID, contract.EXAMPLES}


def test_client_and_model_mean_the_same_by_a_rule_that_nobody_asks_for() -> None:
    tf = signatures.tf
    assert set(requests._RULES) == set(contract.RULES) == set(list_rules.NEUTRAL)
    for name, (dtype, row) in list_rules.NEUTRAL.items():
        rule = requests._RULES[name]
        assert tf.as_dtype(rule.dtype) == dtype
        if rule.dtype != "string":
            assert repr(float(rule.empty)) == repr(float(row[0]))  # NaN is nan


class _Answers:
    """Stands for the served model: any answer, for the names of the signatures alone."""

    def __getattr__(self, name: str) -> Any:
        return lambda inputs: dict(inputs)


def test_the_clients_stand_in_has_the_signatures_of_an_export() -> None:
    tf = signatures.tf
    free = {name: signatures._spec(name, tf.string, 2) for name in ("history_item_id", "exclude_item_id")}
    inputs = signatures.SignatureInputs(free, {}, {"text": signatures._spec("text", tf.string, 1)})
    exported = set(signatures.build_signatures(_Answers(), inputs))  # type: ignore[arg-type]
    twins = {name for name in exported if name.endswith(f"_{contract.EXAMPLES}")}
    assert exported - twins == set(fake_model.FakeModel("films", ["1"])._signatures)
    assert {twin.removesuffix(f"_{contract.EXAMPLES}") for twin in twins} == exported - twins - {
        "describe",
        contract.DEFAULT_SIGNATURE,
    }


def test_a_request_made_from_a_record_is_one_that_the_client_takes() -> None:
    record = {
        "user_id": "u",
        "item_id": ["a", "b", "c"],
        "timestamp": [1, 2, 3],
        "event": ["view", "buy", "view"],
        "target_start": 2,
        "user_category": "F",
    }
    query = UserQuery.from_json(as_request(record, _every_role_of(record)))
    assert [(e.item_id, e.timestamp, e.event) for e in query.events] == [("a", 1, "view"), ("b", 2, "buy")]
    assert query.user == {"user_category": "F"}


def _every_role_of(record: dict[str, Any]) -> dataset_contract.Schema:
    schema = _every_role()
    return dataset_contract.Schema(schema.items, tuple(f for f in schema.sequences if f.name in record))


def test_client_and_server_meet_at_the_same_address_by_default() -> None:
    defaults = {name: field.default for name, field in ServerOptions.model_fields.items()}

    def command() -> None: ...

    for option in _CONNECTION:
        option(command)
    target = next(param for param in command.__click_params__ if param.name == "target")  # type: ignore[attr-defined]
    assert target.default == f"{defaults['host']}:{defaults['port']}"
