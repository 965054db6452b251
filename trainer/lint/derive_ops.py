r"""Derives the op list of a TensorFlow Serving release from the wheels of what that release is linked with.

A stock server links TensorFlow's own ops and TF.Text's (`SUPPORTED_TENSORFLOW_OPS` in
tensorflow_serving/model_servers/BUILD). Every release from 2.12 to 2.19 links TF.Text 2.12.1, whatever its
TensorFlow; 2.20 links TF.Text 2.20. Wheels without CUDA have no ops of TensorRT, as the server has none::

    pip download --no-deps tensorflow-cpu==2.19.1 tensorflow-cpu==2.12.1 tensorflow-text==2.12.1
    python -m trainer.lint.derive_ops --release 2.19 --tensorflow tensorflow_cpu-2.19.1-*.whl \
        --text tensorflow_text-2.12.1-*.whl --text-tensorflow tensorflow_cpu-2.12.1-*.whl

The server also links inference ops of TensorFlow Decision Forests; they are not in the lists.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import click

_HEADER = (
    "# Ops that TensorFlow Serving {release} registers, from {tensorflow} and {text}.\n"
    "# Written by `python -m trainer.lint.derive_ops`; do not edit.\n"
)
_WHEEL = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--release", required=True, help="TensorFlow Serving's release, such as 2.20.")
@click.option(
    "--tensorflow", required=True, type=_WHEEL, help="The wheel of the TensorFlow it is built from."
)
@click.option("--text", required=True, type=_WHEEL, help="The wheel of the TF.Text that it links.")
@click.option("--text-tensorflow", type=_WHEEL, help="The wheel of TensorFlow that TF.Text was built for.")
def derive_ops(release: str, tensorflow: Path, text: Path, text_tensorflow: Path | None) -> None:
    """Writes trainer/lint/ops/serving-RELEASE.txt."""
    with tempfile.TemporaryDirectory() as folder:
        core = _core(tensorflow, Path(folder) / "core")
        ops = _registered(core)
        beside_text = _core(text_tensorflow, Path(folder) / "beside") if text_tensorflow else core
        libraries = _unpack(text, Path(folder) / "text", _is_text_library)
        text_ops = _registered(beside_text, libraries) - _registered(beside_text)
    path = Path(__file__).parent / "ops" / f"serving-{release}.txt"
    header = _HEADER.format(release=release, tensorflow=_version(tensorflow), text=_version(text))
    path.write_text(header + "\n".join(sorted(ops | text_ops)) + "\n", encoding="utf-8")
    click.echo(f"{path}: {len(ops)} ops of TensorFlow, {len(text_ops)} of TF.Text")


def _core(wheel: Path, target: Path) -> Path:
    _unpack(wheel, target, lambda name: name.startswith("tensorflow/libtensorflow_"))
    return target / "tensorflow"


def _is_text_library(name: str) -> bool:
    return name.endswith(".so") and "/pybinds/" not in name


def _unpack(wheel: Path, target: Path, wanted: Callable[[str], bool]) -> list[Path]:
    with zipfile.ZipFile(wheel) as archive:
        return [Path(archive.extract(name, target)) for name in archive.namelist() if wanted(name)]


def _registered(folder: Path, libraries: list[Path] | None = None) -> set[str]:
    script = Path(__file__).with_name("registered_ops.py")
    command = [sys.executable, str(script), str(folder), *map(str, libraries or [])]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise click.ClickException(f"{folder} could not be loaded: {finished.stderr[-2000:]}")
    return set(finished.stdout.split())


def _version(wheel: Path) -> str:
    return " ".join(wheel.name.split("-")[:2])


if __name__ == "__main__":
    derive_ops()
