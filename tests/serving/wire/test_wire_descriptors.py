"""Our messages against TensorFlow's own descriptors, and the compiled file against its sources."""

from __future__ import annotations

import contextlib
import importlib

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from serving.wire import generate, messages, methods
from serving.wire._pool import POOL

_FILES = sorted(path.name for path in (generate.HERE / "protos").glob("*.proto"))

# Messages of the package tensorflow; the others are in tensorflow.serving.
_TENSORFLOW = {
    "TensorProto",
    "TensorShapeProto",
    "Example",
    "Feature",
    "Features",
    "BytesList",
    "FloatList",
    "Int64List",
    "SignatureDef",
    "TensorInfo",
}
# Messages whose sources the tensorflow-serving-api package does not ship.
_NOT_SHIPPED = {"BatchingParameters", "SSLConfig", "PrometheusConfig", "MonitoringConfig"}
# A message there, raw bytes here: the same wire type, and nobody looks inside.
_KEPT_AS_BYTES = {"TensorInfo.CompositeTensor.type_spec", "PredictionLog.session_run_log"}


def test_compiled_descriptors_are_those_of_the_sources():
    shipped = descriptor_pb2.FileDescriptorSet.FromString(generate.DESCRIPTORS.read_bytes())
    compiled = descriptor_pb2.FileDescriptorSet.FromString(generate.compile_descriptors())
    ours = [file for file in shipped.file if file.package == "twotower.wire"]
    assert ours == [file for file in compiled.file if file.package == "twotower.wire"]


def _their_pool():
    for name in ("prediction_service_pb2", "model_service_pb2", "prediction_log_pb2"):
        # Some releases of tensorflow-serving-api fail at the end of these modules under newer protobuf, after
        # they have registered what this test reads.
        with contextlib.suppress(AttributeError):
            importlib.import_module(f"tensorflow_serving.apis.{name}")
    importlib.import_module("grpc_health.v1.health_pb2")
    return descriptor_pool.Default()


def _theirs(pool, name: str):
    if name.startswith("HealthCheck"):
        return pool.FindMessageTypeByName(f"grpc.health.v1.{name}")
    package = "tensorflow" if name.split(".")[0] in _TENSORFLOW else "tensorflow.serving"
    return pool.FindMessageTypeByName(f"{package}.{name}")


def _all_messages(descriptor):
    yield descriptor
    for nested in descriptor.nested_types:
        yield from _all_messages(nested)


def _our_messages():
    for file in _FILES:
        for top in POOL.FindFileByName(f"twotower/wire/{file}").message_types_by_name.values():
            for descriptor in _all_messages(top):
                yield descriptor.full_name.removeprefix("twotower.wire."), descriptor


def test_every_field_has_the_number_and_type_tensorflow_gives_it():
    pool = _their_pool()
    checked = 0
    for name, ours in _our_messages():
        if name in _NOT_SHIPPED:
            continue
        theirs = _theirs(pool, name)
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert field.number == other.number, f"{name}.{field.name}"
            if f"{name}.{field.name}" not in _KEPT_AS_BYTES:
                assert field.type == other.type, f"{name}.{field.name}"
            assert field.is_repeated == other.is_repeated, f"{name}.{field.name}"
            assert (field.containing_oneof is None) == (other.containing_oneof is None), (
                f"{name}.{field.name}"
            )
            checked += 1
    assert checked > 150


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("DataType", "tensorflow.DataType"),
        ("Code", "tensorflow.error.Code"),
        ("ModelVersionStatus.State", "tensorflow.serving.ModelVersionStatus.State"),
        ("HealthCheckResponse.ServingStatus", "grpc.health.v1.HealthCheckResponse.ServingStatus"),
    ],
)
def test_every_enum_value_has_tensorflows_number(ours, theirs):
    other = {v.name: v.number for v in _their_pool().FindEnumTypeByName(theirs).values}
    mine = {v.name: v.number for v in POOL.FindEnumTypeByName(f"twotower.wire.{ours}").values}
    assert mine == {name: other[name] for name in mine}
    left_out = {name for name in other if name not in mine and not name.endswith("_REF")}
    assert left_out <= {"DO_NOT_USE_RESERVED_FOR_FUTURE_EXPANSION_USE_DEFAULT_IN_SWITCH_INSTEAD_"}


def test_every_method_exists_with_these_messages():
    pool = _their_pool()
    for method in methods.ALL:
        theirs = pool.FindServiceByName(method.service).methods_by_name[method.name]
        assert method.path == f"/{method.service}/{method.name}"
        assert method.request.DESCRIPTOR.name == theirs.input_type.name
        assert method.response.DESCRIPTOR.name == theirs.output_type.name


def test_nothing_of_ours_stands_in_the_default_pool():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("twotower.wire.TensorProto")
    with pytest.raises(KeyError):
        POOL.FindMessageTypeByName("tensorflow.TensorProto")


def test_a_signature_map_crosses_in_both_directions():
    theirs = message_factory.GetMessageClass(_theirs(_their_pool(), "GetModelMetadataResponse"))
    their_map = message_factory.GetMessageClass(_theirs(_their_pool(), "SignatureDefMap"))
    signatures = their_map()
    signatures.signature_def["serving_default"].inputs["x"].dtype = 1
    response = theirs()
    response.metadata["signature_def"].Pack(signatures)

    ours = messages.GetModelMetadataResponse.FromString(response.SerializeToString())
    unpacked = messages.unpack_signature_def(ours.metadata["signature_def"])
    assert unpacked.signature_def["serving_default"].inputs["x"].dtype == 1

    ours.metadata["signature_def"].CopyFrom(messages.pack_signature_def(unpacked))
    back = their_map()
    assert theirs.FromString(ours.SerializeToString()).metadata["signature_def"].Unpack(back)
    assert back == signatures


def test_another_message_in_the_metadata_is_refused():
    packed = messages.AnyProto(type_url="type.googleapis.com/tensorflow.serving.ModelSpec")
    with pytest.raises(ValueError, match=r"ModelSpec.*expected.*SignatureDefMap"):
        messages.unpack_signature_def(packed)
