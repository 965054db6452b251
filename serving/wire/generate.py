"""Compiles `protos/*.proto` into `descriptors.binpb`; run `python -m serving.wire.generate` after an edit.

Needs grpcio-tools (the `dev` extra). Nothing imports this module at run time: the compiled descriptors are
shipped, and no generated Python is, so one file serves every protobuf runtime from 4.22 on.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
DESCRIPTORS = HERE / "descriptors.binpb"


def compile_descriptors() -> bytes:
    """Returns the serialized FileDescriptorSet of all `.proto` files and what they import.

    Raises:
        RuntimeError: grpcio-tools is not installed, or a `.proto` file does not compile.
    """
    names = sorted(f"twotower/wire/{path.name}" for path in (HERE / "protos").glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "descriptors.binpb"
        # In a process of its own: the compiler's C++ library crashes beside TensorFlow's.
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--proto_path=twotower/wire={HERE / 'protos'}",
            f"--proto_path={_well_known_protos()}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            *names,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"protoc refused one of {', '.join(names)}: {done.stderr.strip()}")
        return out.read_bytes()


def _well_known_protos() -> Path:
    spec = importlib.util.find_spec("grpc_tools")
    if spec is None or spec.origin is None:
        raise RuntimeError("grpcio-tools is not installed; install it with: pip install 'twotower[dev]'")
    return Path(spec.origin).parent / "_proto"


def main() -> None:
    """Writes `descriptors.binpb` beside its final name and renames it."""
    scratch = DESCRIPTORS.with_suffix(".tmp")
    scratch.write_bytes(compile_descriptors())
    scratch.replace(DESCRIPTORS)
    print(f"wrote {DESCRIPTORS} ({DESCRIPTORS.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
