"""Loads the compiled descriptors into a pool of our own and hands out message classes.

Registering a second `tensorflow.TensorProto` in protobuf's default pool breaks whoever imports TensorFlow
next ("duplicate symbol", or "expected TensorProto got TensorProto"). So our messages have another package
name and stand in another pool: TensorFlow may be imported before, after or never.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "twotower.wire"
_DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _load()


def message(name: str, package: str = PACKAGE) -> Any:
    """Returns the message class of `name`, such as "PredictRequest" or "TensorShapeProto.Dim".

    Raises:
        KeyError: there is no such message.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{package}.{name}"))


def enum(name: str) -> dict[str, int]:
    """Returns the values of an enum by their names, such as {"DT_FLOAT": 1, ...} for "DataType".

    Raises:
        KeyError: there is no such enum.
    """
    descriptor = POOL.FindEnumTypeByName(f"{PACKAGE}.{name}")
    return {value.name: value.number for value in descriptor.values}
