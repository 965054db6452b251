from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from trainer.lint.file_checks import _OPTIMIZER_STATE, MAX_WARMUP_RECORDS, WARMUP_FILE
from trainer.lint.lint import lint
from trainer.lint.ops_checks import unregistered_ops

BATCH = tf.TensorSpec([None], tf.float32, name="x")


def found(folder, **options) -> dict[str, list]:
    """Findings by the name of their check."""
    findings: dict[str, list] = {}
    for finding in lint(folder, **options):
        findings.setdefault(finding.check, []).append(finding)
    return findings


def trim(x: tf.Tensor) -> tf.Tensor:
    """Trims two texts to five tokens with TF.Text's trimmer."""
    ragged = tf.RaggedTensor.from_tensor(x[:, None])
    return tensorflow_text.RoundRobinTrimmer(5).trim([ragged, ragged])[0].to_tensor()


def test_a_plain_model_has_nothing_to_say(save):
    assert lint(save(serving_default=(lambda x: x * 2.0, BATCH))) == []


def test_ops_of_a_newer_tf_text_are_named_for_older_servers(save):
    folder = save(serving_default=(trim, BATCH))
    assert unregistered_ops(folder, "2.20") == []
    assert unregistered_ops(folder, "2.19") == ["TFText>RoundRobinTrim"]
    (finding,) = found(folder, serving="2.19")["unregistered-op"]
    assert finding.severity == "error"
    assert "'TFText>RoundRobinTrim'" in finding.message
    assert "in function __inference" in finding.where


@pytest.mark.parametrize(
    ("besides", "severity"), [((), "error"), (("Halve",), "note"), (("Half>",), "error")]
)
def test_ops_that_a_server_has_besides_are_only_noted(tmp_path, besides, severity):
    graph = meta_graph_pb2.MetaGraphDef()
    graph.meta_info_def.tags.append("serve")
    graph.graph_def.node.add(name="a", op="Halve")
    (finding,) = (
        each for each in lint(write_graph(tmp_path, graph), besides=besides) if "'Halve'" in each.message
    )
    assert finding.severity == severity
    assert finding.check == ("unregistered-op" if severity == "error" else "added-op")


def test_a_namespace_stands_for_all_of_its_ops(tmp_path):
    graph = meta_graph_pb2.MetaGraphDef()
    graph.meta_info_def.tags.append("serve")
    for op in ("Scann>ScannSearch", "Scann", "Scanner>X"):
        graph.graph_def.node.add(name=op.replace(">", "_"), op=op)
    folder = write_graph(tmp_path, graph)
    assert {finding.where for finding in found(folder, besides=("Scann>",))["unregistered-op"]} == {
        "Scann",
        "Scanner_X",
    }


def test_ops_of_functions_that_no_signature_calls_count(save):
    module = tf.Module()
    module.unused = tf.function(trim, input_signature=[BATCH])
    assert unregistered_ops(save(module, serving_default=(lambda x: x, BATCH)), "2.12") == [
        "TFText>RoundRobinTrim"
    ]


def test_functions_called_by_name_are_no_unknown_ops(save):
    @tf.function
    def inner(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)

    assert unregistered_ops(save(serving_default=(inner, BATCH))) == []


def test_python_calls_are_found(save):
    folder = save(
        serving_default=(lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), [None]), BATCH)
    )
    assert unregistered_ops(folder) == []  # the op is registered, its kernel needs Python
    (finding,) = found(folder)["python-op"]
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("shape", "problem"),
    [([], "it is a scalar"), ([8], "first dimension is fixed at 8"), (None, "its rank is unknown")],
)
def test_inputs_that_the_server_cannot_batch(save, shape, problem):
    folder = save(serving_default=(lambda x: tf.reshape(x, [-1]), tf.TensorSpec(shape, tf.float32, name="x")))
    finding = found(folder)["unbatchable"][0]
    assert finding.severity == "error"
    assert finding.where == "serving_default: input x"
    assert problem in finding.message


def test_outputs_that_the_server_cannot_cut(save):
    findings = found(save(serving_default=(tf.reduce_sum, BATCH)))
    assert [finding.where for finding in findings["unbatchable"]] == ["serving_default: output y"]


def test_wide_inputs_are_noted(save):
    wide = tf.TensorSpec([None, None], tf.float32, name="x")
    findings = found(save(serving_default=(lambda x: x[:, :2], wide)))
    assert [(f.severity, f.where) for f in findings["unbounded-input"]] == [("note", "serving_default: x")]


def test_names_that_nobody_chose_are_noted(save):
    findings = found(
        save(serving_default=(lambda x: x, tf.TensorSpec([None], tf.float32, name="keras_tensor_3")))
    )
    assert [f.where for f in findings["inherited-name"]] == ["serving_default: keras_tensor_3"]


def test_a_model_without_default_signature_is_noted(save):
    assert "no-default-signature" in found(save(score=(lambda x: x, BATCH)))


def test_a_model_without_signatures_cannot_be_called(save, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    assert found(tmp_path / "1")["no-signature"][0].severity == "error"


def test_variables_that_requests_change(save):
    module = tf.Module()
    module.calls = tf.Variable(0.0)
    folder = save(module, serving_default=(lambda x: x + module.calls.assign_add(1.0), BATCH))
    assert "AssignAddVariableOp" in found(folder)["assigns-variable"][0].message


def test_reading_variables_changes_nothing(save):
    module = tf.Module()
    module.weight = tf.Variable(2.0)
    module.train = tf.function(lambda: module.weight.assign_add(1.0), input_signature=[])
    assert "assigns-variable" not in found(save(module, serving_default=(lambda x: x * module.weight, BATCH)))


def test_training_steps_left_in_the_file(save):
    module = tf.Module()
    module.weight = tf.Variable([2.0])

    @tf.function(input_signature=[BATCH])
    def step(gradient):
        tf.raw_ops.ResourceApplyGradientDescent(var=module.weight.handle, alpha=0.1, delta=gradient)

    module.step = step
    findings = found(save(module, serving_default=(lambda x: x * module.weight, BATCH)))
    assert "ResourceApplyGradientDescent" in findings["training-op"][0].message


def test_optimizer_state_in_the_variables(save):
    import keras

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    module = tf.Module()
    module.model = model
    (finding,) = found(save(module, serving_default=(lambda x: model(x[:, None])[:, 0], BATCH)))[
        "optimizer-state"
    ]
    assert "optimizer/_iterations" in finding.where


@pytest.mark.parametrize(
    ("name", "is_state"),
    [
        ("optimizer/_variables/3/.ATTRIBUTES/VARIABLE_VALUE", True),
        ("layer/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", True),
        ("dense/kernel/Adam_1", True),
        ("model/adam/iterations", True),
        ("beta1_power", True),
        ("tower/dense/kernel/.ATTRIBUTES/VARIABLE_VALUE", False),
        ("madam/kernel", False),
        ("optimizers_guide/embeddings", False),
        ("_layers/2/moving_mean/.ATTRIBUTES/VARIABLE_VALUE", False),
    ],
)
def test_names_of_optimizer_state(name, is_state):
    assert bool(_OPTIMIZER_STATE.search(name)) == is_state


def write_graph(folder, graph: meta_graph_pb2.MetaGraphDef):
    proto = saved_model_pb2.SavedModel(meta_graphs=[graph])
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


def test_a_function_called_by_its_name_is_no_unknown_op(tmp_path):
    graph = meta_graph_pb2.MetaGraphDef()
    graph.graph_def.library.function.add().signature.name = "half"
    graph.graph_def.node.add(name="a", op="half")
    graph.graph_def.node.add(name="b", op="Halve")
    assert unregistered_ops(write_graph(tmp_path, graph)) == ["Halve"]


def test_a_graph_for_training_only_is_not_served(tmp_path):
    graph = meta_graph_pb2.MetaGraphDef()
    graph.meta_info_def.tags.append("train")
    (finding,) = found(write_graph(tmp_path, graph))["serve-tag"]
    assert "found only ['train']" in finding.message


@pytest.mark.parametrize("name", ["../vocab.txt", "sub/vocab.txt", "C:\\vocab.txt"])
def test_assets_outside_their_folder_are_refused(tmp_path, name):
    graph = meta_graph_pb2.MetaGraphDef()
    graph.asset_file_def.add().filename = name
    (finding,) = found(write_graph(tmp_path, graph))["asset"]
    assert "has a path in its name" in finding.message


def test_variables_of_towers_are_no_optimizer_state(save):
    module = tf.Module()
    module.adamant, module.embeddings = tf.Variable(1.0), tf.Variable(2.0)
    findings = found(save(module, serving_default=(lambda x: x * module.adamant * module.embeddings, BATCH)))
    assert "optimizer-state" not in findings


def test_large_constants_are_found_once_with_their_copies(save):
    table = np.random.default_rng(0).random(300_000).astype(np.float32)  # 1.1 MiB
    folder = save(
        serving_default=(lambda x: x + tf.constant(table)[0], BATCH),
        other=(lambda x: x - tf.constant(table)[0], BATCH),
    )
    (finding,) = found(folder)["large-constant"]
    assert "1.1 MiB" in finding.message
    assert "4 times over" in finding.message  # a signature is a function and a wrapper, both with a copy


def test_paths_of_the_build_machine_are_found(save):
    folder = save(serving_default=(lambda x: tf.fill([tf.shape(x)[0]], "/home/alice/run-7/vocab.txt"), BATCH))
    (folder / "assets.extra" / "serving.json").write_text('{"trained_in": "/mnt/job-42/out"}')
    findings = found(folder)["machine-path"]
    assert [finding.where for finding in findings] == ["assets.extra/serving.json", "saved_model.pb"]
    assert "/mnt/job-42/out" in findings[0].message
    assert "/home/alice/run-7/vocab.txt" in findings[1].message


def test_assets_must_be_there_and_table_names_hold_their_old_paths(save, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    module, spec = tf.Module(), tf.TensorSpec([None], tf.string, name="x")
    vocabulary.write_text("a\t0\nb\t1\n")
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(vocabulary), tf.string, 0, tf.int64, 1, delimiter="\t"), -1
    )
    folder = save(module, serving_default=(module.table.lookup, spec))
    # TensorFlow names the table's resource after the file that it was first made from.
    assert str(vocabulary) in found(folder)["machine-path"][0].message
    assert "asset" not in found(folder)
    (folder / "assets" / "vocab.txt").unlink()
    (finding,) = found(folder)["asset"]
    assert "not in the folder assets/" in finding.message


def test_missing_and_partial_warmup(save, write_warmup):
    folder = save(serving_default=(lambda x: x, BATCH), other=(lambda x: -x, BATCH))
    write_warmup(folder, "other")
    assert "no record warms up serving_default" in found(folder)["no-warmup"][0].message
    (folder / WARMUP_FILE).unlink()
    assert "first requests" in found(folder)["no-warmup"][0].message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good: good[:-3], "record 0"),
        (lambda good: b"", "no record warms up"),
        (lambda good: good[:-1] + b"x", "record 0"),
    ],
)
def test_broken_warmup_files(save, content, message):
    folder = save(serving_default=(lambda x: x, BATCH))
    path = folder / WARMUP_FILE
    path.write_bytes(content(path.read_bytes()))
    (finding,) = lint(folder)
    assert message in finding.message


def test_warmup_records_must_fit_the_model(save, write_warmup):
    folder = save(serving_default=(lambda x: x, BATCH))
    write_warmup(folder, *["serving_default"] * MAX_WARMUP_RECORDS, "gone")
    messages = [finding.message for finding in found(folder)["broken-warmup"]]
    assert "1001 records" in messages[0]
    assert "does not have (gone)" in messages[1]


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no saved_model\.pb in it"):
        lint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xff")
    with pytest.raises(ValueError, match="is not a SavedModel, or is cut off"):
        lint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no graph"):
        lint(tmp_path)


def test_a_finding_reads_as_a_line(save):
    (finding,) = lint(save(serving_default=(tf.reduce_sum, BATCH)))
    assert str(finding).startswith("error: unbatchable (serving_default: output y): it is a scalar")


def test_errors_come_first(save):
    wide = tf.TensorSpec([None, None], tf.float32, name="x")
    folder = save(score=(lambda x: tf.reduce_sum(x) + tf.constant(np.zeros(1 << 18, np.float32))[0], wide))
    severities = [finding.severity for finding in lint(folder)]
    assert severities == ["error", "warning", "note", "note"]
