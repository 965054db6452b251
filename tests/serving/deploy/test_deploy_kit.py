"""The kit for the real server: its files parse, agree with each other, and refuse what would not run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf import text_format

from serving.deploy.cli import deploy
from serving.deploy.kit import kit, write_kit
from serving.deploy.server_files import METRICS_PATH, flags
from serving.deploy.settings import Settings, SettingsError
from serving.wire import messages as wire

yaml = pytest.importorskip("yaml", reason="parses the generated files")

SETTINGS = Settings("films", "/models/films", replicas=3, cpus=2, model_megabytes=300)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return kit(SETTINGS)


def _yaml(files: dict[str, str], name: str) -> Any:
    return yaml.safe_load(files[name])


def test_every_yaml_and_json_file_parses(files: dict[str, str]) -> None:
    for name, text in files.items():
        if name.endswith((".yaml", ".yml")) and not name.startswith("helm/templates"):
            assert yaml.safe_load(text)
        if name.endswith(".json"):
            assert json.loads(text)["panels"]


def test_server_files_are_in_the_real_text_formats(files: dict[str, str]) -> None:
    models = text_format.Parse(files["config/models.config"], wire.ModelServerConfig())
    (model,) = models.model_config_list.config
    assert (model.name, model.base_path) == ("films", "/models/films")
    batching = text_format.Parse(files["config/batching.config"], wire.BatchingParameters())
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size.value
    monitoring = text_format.Parse(files["config/monitoring.config"], wire.MonitoringConfig())
    assert monitoring.prometheus_config.path == METRICS_PATH
    ssl = text_format.Parse(files["config/ssl.config.example"], wire.SSLConfig())
    assert ssl.server_cert.startswith("-----BEGIN CERTIFICATE-----\n")


def test_a_canary_has_two_versions_and_their_labels(tmp_path: Path) -> None:
    arguments = [
        "--model-name=films",
        "--stable-version=3",
        "--canary-version=5",
        f"--output={tmp_path / 'kit'}",
    ]
    result = CliRunner().invoke(deploy, arguments)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "kit" / "config" / "models.config").read_text()
    (model,) = text_format.Parse(text, wire.ModelServerConfig()).model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [3, 5]
    assert dict(model.version_labels) == {"stable": 3, "canary": 5}
    compose = yaml.safe_load((tmp_path / "kit" / "docker-compose.yaml").read_text())
    # Labels of versions that are not loaded yet are refused without this flag.
    flag = "--allow_version_labels_for_unavailable_models=true"
    assert flag in compose["services"]["serving"]["command"]
    assert flag not in flags(SETTINGS)
    # Two versions of 500 MB and a third that replaces one of them, and 1 GB.
    assert compose["services"]["serving"]["mem_limit"] == "2824m"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [({"canary_version": 2}, "needs a stable version"), ({"stable_version": 2, "canary_version": 2}, "both")],
)
def test_canaries_that_are_none(versions: dict[str, int], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        Settings("films", "/models/films", **versions)


def test_the_config_map_holds_the_same_files(files: dict[str, str]) -> None:
    data = _yaml(files, "kubernetes/config.yaml")["data"]
    for name in ("models.config", "monitoring.config", "batching.config"):
        assert data[name] == files[f"config/{name}"]
    assert "ssl.config.example" not in data


def test_the_deployment_survives_rollouts_and_swaps(files: dict[str, str]) -> None:
    spec = _yaml(files, "kubernetes/deployment.yaml")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == flags(SETTINGS)
    # Two versions of 300 MB at 1.2 times their size, and 1 GB.
    assert container["resources"]["limits"]["memory"] == "1744Mi"
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == SETTINGS.start_seconds
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(container["lifecycle"]["preStop"]["exec"]["command"][1]) < grace


def test_names_and_ports_agree_over_all_manifests(files: dict[str, str]) -> None:
    service = _yaml(files, "kubernetes/service.yaml")
    deployment = _yaml(files, "kubernetes/deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= labels.items()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == named
    assert f"--port={named['grpc']}" in container["args"]
    budget = _yaml(files, "kubernetes/disruption-budget.yaml")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = _yaml(files, "kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_object_storage_needs_no_volume() -> None:
    files = kit(Settings("films", "gs://bucket/films"))
    (container,) = _yaml(files, "kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {"config", "tmp"}


def test_compose_runs_the_same_server(files: dict[str, str]) -> None:
    service = _yaml(files, "docker-compose.yaml")["services"]["serving"]
    assert service["command"] == flags(SETTINGS)
    assert service["image"] == SETTINGS.image
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["healthcheck"]["test"][:3] == ["CMD", "bash", "-c"]


def test_grafana_finds_prometheus_and_the_dashboard(files: dict[str, str]) -> None:
    services = _yaml(files, "docker-compose.yaml")["services"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in services["grafana"]["volumes"])
    source = _yaml(files, "grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    provider = _yaml(files, "grafana/provisioning/dashboards/dashboards.yaml")["providers"][0]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounts["./grafana/dashboard.json"] == provider["options"]["path"] + "/dashboard.json"
    assert "grafana/dashboard.json" in files
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert source["isDefault"] is True


def test_the_chart_with_its_values_is_the_manifests(files: dict[str, str]) -> None:
    values = _yaml(files, "helm/values.yaml")

    def render(text: str) -> str:
        def value(match: re.Match[str]) -> str:
            found = str(values[match[1]])
            return f'"{found}"' if "quote" in match[0] else found

        return re.sub(r"\{\{ \.Values\.(\w+)[^}]*\}\}", value, text)

    for name in [name for name in files if name.startswith("kubernetes/")]:
        template = files["helm/templates/" + name.removeprefix("kubernetes/")]
        assert yaml.safe_load(render(template)) == yaml.safe_load(files[name])
    assert "{{ .Values.image }}" in files["helm/templates/deployment.yaml"]


def test_alerts_and_panels_use_metrics_that_the_embedded_server_has(files: dict[str, str]) -> None:
    server_metrics = pytest.importorskip("serving.server.metrics")
    known = set(server_metrics.Metrics().names)
    used: set[str] = set()
    for text in (files["prometheus/alerts.yml"], files["grafana/dashboard.json"]):
        used |= set(re.findall(r":tensorflow:[a-z_:]+", text))
    assert used
    for name in used:
        assert name.removesuffix("_bucket") in known


@pytest.mark.slow
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or os.environ.get("PROMTOOL")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    write_kit(SETTINGS, tmp_path / "kit")
    result = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "kit" / "prometheus" / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "4 rules found" in result.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_name": "Films"}, "cannot name Kubernetes objects"),
        ({"model_path": "models/films"}, "is not absolute"),
        ({"image": "tensorflow/serving:2.19.1"}, "older than 2.20"),
        ({"image": "tensorflow/serving:latest"}, "no fixed tag"),
        ({"image": "tensorflow/serving"}, "no fixed tag"),
        ({"replicas": 5, "max_replicas": 2}, "below replicas"),
    ],
)
def test_settings_that_would_not_run(changes: dict[str, Any], expected: str) -> None:
    fields: dict[str, Any] = {"model_name": "films", "model_path": "/models/films", **changes}
    with pytest.raises(SettingsError, match=expected):
        Settings(**fields)


@pytest.mark.parametrize(
    "image", ["tensorflow/serving:2.21.0-gpu", "registry.example/tf@sha256:00", "own:v7"]
)
def test_images_that_are_taken(image: str) -> None:
    assert Settings("films", "/models/films", image=image).image == image


def test_command(tmp_path: Path) -> None:
    output = tmp_path / "kit"
    arguments = ["--model-name", "films", "--output", str(output)]
    result = CliRunner().invoke(deploy, arguments)
    assert result.exit_code == 0
    assert str(output / "helm" / "Chart.yaml") in result.output
    again = CliRunner().invoke(deploy, arguments)
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert CliRunner().invoke(deploy, [*arguments, "--overwrite"]).exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["kit"]
