"""Prometheus scraping and alert rules, and a Grafana dashboard."""

from __future__ import annotations

import json

from serving.deploy.server_files import METRICS_PATH, REST_PORT
from serving.deploy.settings import Settings

_PROMETHEUS = """\
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files: ["alerts.yml"]
scrape_configs:
  - job_name: {name}
    metrics_path: {path}
    static_configs:
      - targets: ["serving:{port}"]
"""

_ALERTS = """\
groups:
  - name: {name}
    rules:
      - alert: ModelServerDown
        expr: up{{job="{name}"}} == 0
        for: 1m
        labels: {{severity: page}}
        annotations: {{summary: "{{{{ $labels.instance }}}} does not answer Prometheus"}}
      - alert: ModelServerErrors
        expr: |
          sum by (model_name) (rate(:tensorflow:serving:request_count{{job="{name}",status!="OK"}}[5m]))
            / sum by (model_name) (rate(:tensorflow:serving:request_count{{job="{name}"}}[5m])) > 0.01
        for: 5m
        labels: {{severity: page}}
        annotations: {{summary: "More than 1 % of the requests to {{{{ $labels.model_name }}}} fail"}}
      - alert: ModelServerSlow
        expr: |
          histogram_quantile(0.99, sum by (le, model_name) (
            rate(:tensorflow:serving:request_latency_bucket{{job="{name}"}}[5m]))) > 100000
        for: 10m
        labels: {{severity: ticket}}
        annotations: {{summary: "p99 of {{{{ $labels.model_name }}}} is above 100 ms"}}
      - alert: ModelLoadFails
        expr: increase(:tensorflow:cc:saved_model:load_attempt_count{{job="{name}",status!="success"}}[15m]) > 0
        labels: {{severity: ticket}}
        annotations: {{summary: "{{{{ $labels.model_path }}}} cannot be loaded; the old version serves on"}}
"""


# Where Grafana looks for dashboards in its container.
DASHBOARDS = "/var/lib/grafana/dashboards"
_DATA_SOURCE = """\
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    url: http://prometheus:9090
    isDefault: true
"""
_PROVIDER = f"""\
apiVersion: 1
providers:
  - name: twotower
    type: file
    options: {{path: {DASHBOARDS}}}
"""


def prometheus_files(settings: Settings) -> dict[str, str]:
    """The files of `prometheus/` by name."""
    return {
        "prometheus.yml": _PROMETHEUS.format(name=settings.model_name, path=METRICS_PATH, port=REST_PORT),
        "alerts.yml": _ALERTS.format(name=settings.model_name),
    }


def grafana_files(settings: Settings) -> dict[str, str]:
    """The files of `grafana/` by name: the dashboard, and what makes Grafana load it and find Prometheus."""
    return {
        "dashboard.json": dashboard(settings),
        "provisioning/datasources/prometheus.yaml": _DATA_SOURCE,
        "provisioning/dashboards/dashboards.yaml": _PROVIDER,
    }


def dashboard(settings: Settings) -> str:
    """A Grafana dashboard as JSON: rate, errors, latency, model time, loads."""
    job = f'job="{settings.model_name}"'

    def rate(metric: str, more: str = "") -> str:
        return f"rate(:tensorflow:serving:{metric}{{{job}{more}}}[5m])"

    def quantile(q: float, metric: str) -> str:
        return f"histogram_quantile({q}, sum by (le) ({rate(metric + '_bucket')}))"

    failing = rate("request_count", ',status!="OK"')
    all_calls = rate("request_count")
    loads = f":tensorflow:cc:saved_model:load_attempt_count{{{job}}}"
    # The embedded server tells its memory itself; that of the real one is known to Kubernetes.
    memory = {
        "{{instance}}": f"process_resident_memory_bytes{{{job}}}",
        "{{pod}}": f'container_memory_working_set_bytes{{container="serving",pod=~"{settings.model_name}-.*"}}',
    }
    quantiles = {"p50": 0.5, "p99": 0.99}
    panels = [
        _panel(0, "Requests per second", "reqps", {"{{status}}": f"sum by (status) ({all_calls})"}),
        _panel(1, "Share of failures", "percentunit", {"failures": f"sum({failing}) / sum({all_calls})"}),
        _panel(2, "Time of calls", "µs", {n: quantile(q, "request_latency") for n, q in quantiles.items()}),
        _panel(
            3, "Time in the model", "µs", {n: quantile(q, "runtime_latency") for n, q in quantiles.items()}
        ),
        _panel(4, "Loads", "short", {"{{status}}": f"sum by (status) ({loads})"}),
        _panel(5, "Memory", "bytes", memory),
    ]
    document = {
        "title": f"Model server: {settings.model_name}",
        "uid": f"{settings.model_name}-serving"[:40],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _panel(index: int, title: str, unit: str, queries: dict[str, str]) -> dict[str, object]:
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": title,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (index % 2), "y": 8 * (index // 2)},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "expr": expr, "legendFormat": legend}
            for i, (legend, expr) in enumerate(queries.items())
        ],
    }
