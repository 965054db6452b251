"""What the generated files depend on."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The first release whose TF.Text has all ops of its own version (2.12 to 2.19 link TF.Text 2.12).
OLDEST_RELEASE = (2, 20)
DEFAULT_IMAGE = "tensorflow/serving:2.20.0"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting that does not fit; the text says what was expected."""


@dataclass(frozen=True)
class Settings:
    """Settings of a deployment.

    Attributes:
        model_name: what requests call the model; also the name of the Kubernetes objects.
        model_path: where the servers find the version directories: a path inside the container
            ("/models/m") or an address of object storage ("gs://bucket/m").
        image: image of TensorFlow Serving with its tag.
        replicas: pods to start with, and the least that autoscaling keeps.
        max_replicas: the most that autoscaling starts.
        cpus: cores of a pod; its thread pools get as many.
        model_megabytes: size of one version on disk, in MB; a pod gets memory for one version more than it serves.
        poll_seconds: between two looks for new versions.
        stable_version: the version that gets the label "stable"; None: the newest is served, without labels.
        canary_version: the version beside it that gets the label "canary"; None: there is none.
    """

    model_name: str
    model_path: str
    image: str = DEFAULT_IMAGE
    replicas: int = 2
    max_replicas: int = 10
    cpus: int = 4
    model_megabytes: int = 500
    poll_seconds: int = 30
    stable_version: int | None = None
    canary_version: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.model_name):
            raise SettingsError(
                f"model name {self.model_name!r} cannot name Kubernetes objects: expected lower case letters, "
                "digits and '-', at most 53 characters"
            )
        if not (self.model_path.startswith("/") or "://" in self.model_path):
            raise SettingsError(
                f"model path {self.model_path!r} is not absolute: TensorFlow Serving refuses relative base paths"
            )
        check_image(self.image)
        if self.max_replicas < self.replicas:
            raise SettingsError(f"max replicas {self.max_replicas} is below replicas {self.replicas}")
        if self.canary_version is not None and self.canary_version == self.stable_version:
            raise SettingsError(f"version {self.canary_version} cannot be both the stable one and the canary")
        if self.canary_version is not None and self.stable_version is None:
            raise SettingsError("a canary needs a stable version beside it; give --stable-version too")

    @property
    def labels(self) -> dict[str, int]:
        """Version by label; empty: the newest version is served, without labels."""
        versions = {"stable": self.stable_version, "canary": self.canary_version}
        return {label: version for label, version in versions.items() if version is not None}

    @property
    def memory_megabytes(self) -> int:
        """Memory of a pod: served versions and one more at 1.2 times their size, the server's estimate, and 1 GB."""
        versions = max(len(self.labels), 1) + 1
        return versions * self.model_megabytes * 12 // 10 + 1024

    @property
    def start_seconds(self) -> int:
        """How long a pod may take to load and warm up before it is given up."""
        return 120 + self.model_megabytes // 10


def check_image(image: str) -> None:
    """Refuses images that cannot run exported models, and tags that change under the deployment.

    Raises:
        SettingsError: the tag is missing, "latest", or a release before 2.20.
    """
    if "@sha256:" in image:
        return
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag or tag.startswith("latest"):
        raise SettingsError(f"image {image!r} has no fixed tag; pin one, such as {DEFAULT_IMAGE}")
    release = re.match(r"(\d+)\.(\d+)", tag)
    if name.endswith("tensorflow/serving") and release:
        found = (int(release[1]), int(release[2]))
        if found < OLDEST_RELEASE:
            raise SettingsError(
                f"image {image!r} is older than 2.20: its TF.Text lacks operations that models may use; "
                f"take {DEFAULT_IMAGE} or newer"
            )
