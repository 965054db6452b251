from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from trainer.lint import registered_ops as registered_ops_script
from trainer.lint.ops import registered_ops, releases


def test_every_release_from_2_12_to_2_20_has_a_list():
    assert releases() == tuple(f"2.{minor}" for minor in range(12, 21))


@pytest.mark.parametrize("release", releases())
def test_lists_hold_core_and_text_ops(release: str):
    ops = registered_ops(release)
    assert {"MatMul", "TopKV2", "PartitionedCall", "WordpieceTokenizeWithOffsets", "FastBertNormalize"} <= ops
    assert all(re.fullmatch(r"[A-Z_][A-Za-z0-9_>]*", op) for op in ops)


def test_only_the_newest_release_links_a_tf_text_with_the_trimmer():
    assert [release for release in releases() if "TFText>RoundRobinTrim" in registered_ops(release)] == [
        "2.20"
    ]


def test_patch_numbers_are_ignored_and_unknown_releases_refused():
    assert registered_ops("2.20.1") == registered_ops("2.20")
    with pytest.raises(ValueError, match=r"'2\.3', expected one of 2\.12, 2\.13"):
        registered_ops("2.3")


def test_protobuf_fields_are_found_among_others():
    # Field 2 varint 300, field 1 "ab", field 3 fixed64, field 1 "".
    message = b"\x10\xac\x02" + b"\x0a\x02ab" + b"\x19\x00\x00\x00\x00\x0a\x01z\x00" + b"\x0a\x00"
    assert list(registered_ops_script._fields(message, 1)) == [b"ab", b""]


@pytest.mark.skipif(
    not version("tensorflow").startswith("2.20.") or not version("tensorflow-text").startswith("2.20."),
    reason="the list of 2.20 can be compared with TensorFlow and TF.Text 2.20 only",
)
def test_the_list_of_2_20_is_what_the_installed_libraries_register():
    folder = {
        name: Path(importlib.util.find_spec(name).origin).parent for name in ("tensorflow", "tensorflow_text")
    }
    libraries = [path for path in folder["tensorflow_text"].rglob("*.so") if "pybinds" not in path.parts]
    finished = subprocess.run(
        [sys.executable, registered_ops_script.__file__, str(folder["tensorflow"]), *map(str, libraries)],
        capture_output=True,
        text=True,
        check=True,
    )
    installed, listed = set(finished.stdout.split()), registered_ops("2.20")
    assert listed <= installed
    # The list comes from the wheel without CUDA.
    assert installed - listed <= {"_CopyFromGpuToHost", "_CopyFromHostToGpu"}
