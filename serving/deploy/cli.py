"""`twotower deploy`: writes what it takes to run a model on the real TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

import click

from serving.deploy.kit import write_kit
from serving.deploy.settings import DEFAULT_IMAGE, Settings, SettingsError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model-name", required=True, help="What requests call the model.")
@click.option(
    "--model-path", help="Where servers find its versions: /models/NAME (default) or e.g. gs://bucket/NAME."
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory to write.")
@click.option("--image", default=DEFAULT_IMAGE, show_default=True, help="TensorFlow Serving, 2.20 or newer.")
@click.option("--replicas", type=click.IntRange(1), default=2, show_default=True, help="Pods at the least.")
@click.option(
    "--max-replicas", type=click.IntRange(1), default=10, show_default=True, help="Pods at the most."
)
@click.option("--cpus", type=click.IntRange(1), default=4, show_default=True, help="Cores of one server.")
@click.option(
    "--model-megabytes", type=click.IntRange(1), default=500, show_default=True, help="Size of one version."
)
@click.option(
    "--poll-seconds",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Between looks for new versions.",
)
@click.option("--stable-version", type=click.IntRange(0), help="Serve this version, under the label stable.")
@click.option("--canary-version", type=click.IntRange(0), help="And this one beside it, under canary.")
@click.option("--overwrite", is_flag=True, help="Replace the directory.")
def deploy(model_name: str, model_path: str | None, output: Path, overwrite: bool, **more: object) -> None:
    """Write Docker Compose, Kubernetes, Helm, Prometheus and Grafana files for a model.

    The files run the real tensorflow_model_server; docs/production.md gives the reasons for every setting.
    """
    try:
        settings = Settings(model_name, model_path or f"/models/{model_name}", **more)  # type: ignore[arg-type]
        files = write_kit(settings, output, overwrite)
    except (SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for path in files:
        click.echo(path)
    click.echo(f"Next: MODELS=saved_models docker compose -f {output}/docker-compose.yaml up -d --wait")
