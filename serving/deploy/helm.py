"""A Helm chart made of the same manifests, with the usual settings as values."""

from __future__ import annotations

from serving.deploy.kubernetes import manifests
from serving.deploy.settings import Settings

_CHART = """\
apiVersion: v2
name: {name}
description: TensorFlow Serving for the model {name}
type: application
version: 0.1.0
appVersion: "{tag}"
"""

_VALUES = """\
image: {image}
replicas: {replicas}
maxReplicas: {max_replicas}
cpus: "{cpus}"
memory: {memory}Mi
"""


def chart(settings: Settings) -> dict[str, str]:
    """The files of `helm/` by path."""
    files = {
        "Chart.yaml": _CHART.format(name=settings.model_name, tag=settings.image.rpartition(":")[2]),
        "values.yaml": _VALUES.format(
            image=settings.image,
            replicas=settings.replicas,
            max_replicas=settings.max_replicas,
            cpus=settings.cpus,
            memory=settings.memory_megabytes,
        ),
    }
    replacements = {
        f"image: {settings.image}": "image: {{ .Values.image }}",
        f"  replicas: {settings.replicas}\n": "  replicas: {{ .Values.replicas }}\n",
        f"minReplicas: {settings.replicas}": "minReplicas: {{ .Values.replicas }}",
        f"maxReplicas: {settings.max_replicas}": "maxReplicas: {{ .Values.maxReplicas }}",
        f'cpu: "{settings.cpus}"': "cpu: {{ .Values.cpus | quote }}",
        f"memory: {settings.memory_megabytes}Mi": "memory: {{ .Values.memory }}",
    }
    for name, text in manifests(settings).items():
        # In flow mappings a bare {{ would be read by YAML; Helm replaces it first.
        for old, new in replacements.items():
            text = text.replace(old, new)
        files[f"templates/{name}"] = text
    return files
