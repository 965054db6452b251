"""A real Prometheus scrapes the embedded server and evaluates the alert rules of the deployment kit.

Needs the binary of Debian's package `prometheus`, on the path or named by PROMETHEUS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port, wait_until

from serving.deploy.monitoring import prometheus_files
from serving.deploy.server_files import METRICS_PATH, MONITORING_CONFIG
from serving.deploy.settings import Settings

PROMETHEUS = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROMETHEUS is None, reason="needs a prometheus binary")]


def _get(port: int, path: str, **query: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)["data"]


def _value(port: int, expression: str) -> float | None:
    try:
        result = _get(port, "query", query=expression)["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None


def test_prometheus_reads_the_metrics_and_the_rules(
    embedded: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text(MONITORING_CONFIG)
    port = free_port()
    files = prometheus_files(Settings("half", "/models/half"))
    (tmp_path / "alerts.yml").write_text(files["alerts.yml"])
    with embedded(
        model_name="half", model_base_path=half_plus_two, monitoring_config_file=monitoring
    ) as client:
        (tmp_path / "prometheus.yml").write_text(
            files["prometheus.yml"]
            .replace("15s", "1s")
            .replace("serving:8501", f"127.0.0.1:{client.rest_port}")
        )
        assert METRICS_PATH in files["prometheus.yml"]
        arguments = [
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        ]
        process = subprocess.Popen(
            [str(PROMETHEUS), *arguments, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(7):
                client.value("half", {"x": [1.0]})
            count = ':tensorflow:serving:request_count{model_name="half",status="OK"}'
            wait_until(lambda: _value(port, count) == 7, timeout_s=60)
            assert _value(port, 'up{job="half"}') == 1
            assert _value(port, ":tensorflow:serving:request_latency_count") == 7
            wait_until(lambda: _rules(port) == {"ok"}, timeout_s=60)
        finally:
            process.terminate()
            process.wait()


def _rules(port: int) -> set[str]:
    """The health of all rules: "ok" once each was evaluated without an error."""
    return {rule["health"] for group in _get(port, "rules")["groups"] for rule in group["rules"]}
