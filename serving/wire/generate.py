"""Compiles `protos/*.proto` into `descriptors.binpb`; run `python -m serving.wire.generate` after an edit.

Needs grpcio-tools (the `dev` extra). Nothing imports this module at run time: the compiled descriptors are
shipped, and no generated Python is, so one file serves every protobuf runtime from 4.22 on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

HERE = Path(__file__).parent
DESCRIPTORS = HERE / "descriptors.binpb"


def compile_descriptors() -> bytes:
    """Returns the serialized FileDescriptorSet of all `.proto` files and what they import.

    Raises:
        RuntimeError: a `.proto` file does not compile; the compiler's complaint is on standard error.
    """
    from grpc_tools import protoc  # type: ignore[import-untyped]

    well_known = Path(protoc.__file__).parent / "_proto"
    names = sorted(f"twotower/wire/{path.name}" for path in (HERE / "protos").glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "descriptors.binpb"
        arguments = [
            "protoc",
            f"--proto_path=twotower/wire={HERE / 'protos'}",
            f"--proto_path={well_known}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            *names,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc refused one of {names}; its message is above on standard error.")
        return out.read_bytes()


def main() -> None:
    """Writes `descriptors.binpb` beside its final name and renames it."""
    scratch = DESCRIPTORS.with_suffix(".tmp")
    scratch.write_bytes(compile_descriptors())
    scratch.replace(DESCRIPTORS)
    print(f"wrote {DESCRIPTORS} ({DESCRIPTORS.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
