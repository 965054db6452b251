"""All files of the kit, and writing them."""

from __future__ import annotations

import shutil
from pathlib import Path

from serving.deploy.compose import compose_file
from serving.deploy.helm import chart
from serving.deploy.kubernetes import manifests
from serving.deploy.monitoring import grafana_files, prometheus_files
from serving.deploy.server_files import config_files
from serving.deploy.settings import Settings


def kit(settings: Settings) -> dict[str, str]:
    """Every file by its path below the output directory."""
    files = {"docker-compose.yaml": compose_file(settings)}
    for folder, part in (
        ("config", config_files(settings)),
        ("kubernetes", manifests(settings)),
        ("helm", chart(settings)),
        ("prometheus", prometheus_files(settings)),
        ("grafana", grafana_files(settings)),
    ):
        files |= {f"{folder}/{name}": text for name, text in part.items()}
    return files


def write_kit(settings: Settings, output: Path, overwrite: bool = False) -> list[Path]:
    """Writes the kit beside its final name and renames it.

    Returns:
        The files, in the order of their names.

    Raises:
        FileExistsError: the directory is there already and `overwrite` is not set.
    """
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there already; give --overwrite to replace it")
    scratch = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    for name, text in kit(settings).items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if output.exists():
        shutil.rmtree(output)
    scratch.rename(output)
    return sorted(path for path in output.rglob("*") if path.is_file())
