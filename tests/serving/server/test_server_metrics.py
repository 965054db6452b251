"""The page of metrics: everything that docs/server.md lists is there, as it is listed, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from server_models import copy_version

from serving.server.metrics import LATENCY_BOUNDS, Metrics
from serving.server.model import load_model

DOCUMENT = Path(__file__).parents[3] / "docs" / "server.md"
MONITORING = "prometheus_config { enable: true }"


def _listed() -> dict[str, tuple[str, tuple[str, ...]]]:
    """(type, labels) by name, out of the document's table."""
    rows = re.findall(r"^\| `(:tensorflow:[^`]+)` \| (\w+) \|(.*)\|$", DOCUMENT.read_text(), re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_list_is_what_the_server_counts() -> None:
    assert _listed() == Metrics().described


def test_every_listed_metric_is_on_the_page(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text(MONITORING)
    with serve(
        model_name="half",
        model_base_path=half_plus_two,
        monitoring_config_file=monitoring,
        enable_batching=True,
    ) as client:
        assert client.value("half", {"x": [1.0]}) == [2.5]
        text = client.rest("GET", "/monitoring/prometheus/metrics")[1].decode()
        kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
        for name, (kind, labels) in _listed().items():
            assert kinds[name] == kind
            samples = re.findall(rf"^{name}(?:_sum)?\{{(.*?)\}} ", text, re.MULTILINE)
            for sample in samples:
                assert tuple(re.findall(r'(\w+)="', sample)) == labels


def test_a_uuid_of_ml_metadata_is_told(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text(MONITORING)
    source = shutil.copytree(half_plus_two / "1", tmp_path / "source")
    (source / "assets.extra").mkdir()
    (source / "assets.extra" / "mlmd_uuid").write_text("test_mlmd_uuid")
    base = copy_version(source, tmp_path / "base", 42).parent
    with serve(model_name="half", model_base_path=base, monitoring_config_file=monitoring) as client:
        text = client.rest("GET", "/monitoring/prometheus/metrics")[1].decode()
        assert "# TYPE :tensorflow:serving:mlmd_map gauge\n" in text
        assert ':tensorflow:serving:mlmd_map{model_name="half",version="42"} 0\n' in text
        path = base / "42"
        for stage in ("restore_graph", "init_graph"):
            labels = f'model_path="{path}",stage="{stage}"'
            assert f":tensorflow:cc:saved_model:load_latency_by_stage_count{{{labels}}} 1\n" in text
            assert f':tensorflow:cc:saved_model:load_latency_by_stage_bucket{{{labels},le="18"}}' in text


def test_a_load_that_fails_has_no_stages(half_plus_two: Path, tmp_path: Path) -> None:
    broken = copy_version(half_plus_two / "1", tmp_path, 1)
    (broken / "variables" / "variables.index").write_bytes(b"no checkpoint")
    stages: list[str] = []
    with pytest.raises(Exception, match=r"variables|checkpoint|table"):
        load_model(broken, on_stage=lambda stage, seconds: stages.append(stage))
    assert stages == []
    load_model(half_plus_two / "1", on_stage=lambda stage, seconds: stages.append(stage)).close()
    assert stages == ["restore_graph", "init_graph"]


def test_buckets_of_times_are_the_real_servers() -> None:
    # Exponential(10, 1.8, 33): 10, 18, 32.4 ... and nearly twenty minutes.
    assert LATENCY_BOUNDS[:3] == pytest.approx((10, 18, 32.4))
    assert len(LATENCY_BOUNDS) == 33
    assert 19 < LATENCY_BOUNDS[-1] / 60e6 < 27
