"""The configuration files of TensorFlow Serving itself, and its flags."""

from __future__ import annotations

from collections.abc import Mapping

from serving.deploy.settings import Settings

GRPC_PORT, REST_PORT = 8500, 8501
METRICS_PATH = "/monitoring/prometheus/metrics"

MODELS_CONFIG = """\
# Which models are served. Read again every {poll} s: edit and wait, no restart.
# A label may only point to a loaded version, so a new stable version takes three edits: load both versions, move
# the label "stable", drop the old version.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "{path}"
    model_platform: "tensorflow"
{policy}
  }}
}}
"""

BATCHING_CONFIG = """\
# Used only with --enable_batching=true. Measure first: on a processor, batches sent by clients are simpler.
# In-flight requests are capped by grpc_max_threads, so batches of one-row requests cannot be larger than that.
max_batch_size {{ value: 32 }}
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: {threads} }}
num_batch_threads {{ value: {cpus} }}
allowed_batch_sizes: 1
allowed_batch_sizes: 2
allowed_batch_sizes: 4
allowed_batch_sizes: 8
allowed_batch_sizes: 16
allowed_batch_sizes: 32
"""

MONITORING_CONFIG = 'prometheus_config { enable: true path: "' + METRICS_PATH + '" }\n'

SSL_CONFIG = """\
# For --ssl_config_file. PEM text, not paths; line breaks are written \\n. Covers gRPC only: REST is always plain.
# Keep the filled-in file in a secret, never in version control.
server_key: "-----BEGIN PRIVATE KEY-----\\n...\\n-----END PRIVATE KEY-----\\n"
server_cert: "-----BEGIN CERTIFICATE-----\\n...\\n-----END CERTIFICATE-----\\n"
custom_ca: "-----BEGIN CERTIFICATE-----\\n...\\n-----END CERTIFICATE-----\\n"
client_verify: true
"""


def _policy(labels: Mapping[str, int]) -> list[str]:
    """Which versions are served: the newest, or those that have a label."""
    if not labels:
        return [
            "model_version_policy { latest { num_versions: 1 } }",
            "# For a canary: `twotower deploy --stable-version=1 --canary-version=2`, or",
            "# model_version_policy { specific { versions: 1 versions: 2 } }",
            '# version_labels { key: "stable" value: 1 }',
            '# version_labels { key: "canary" value: 2 }',
        ]
    versions = " ".join(f"versions: {version}" for version in labels.values())
    return [
        f"model_version_policy {{ specific {{ {versions} }} }}",
        *(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()),
    ]


def config_files(settings: Settings) -> dict[str, str]:
    """The files of `config/` by name."""
    return {
        "models.config": MODELS_CONFIG.format(
            name=settings.model_name,
            path=settings.model_path,
            poll=settings.poll_seconds,
            policy="\n".join(f"    {line}" for line in _policy(settings.labels)),
        ),
        "batching.config": BATCHING_CONFIG.format(cpus=settings.cpus, threads=settings.cpus),
        "monitoring.config": MONITORING_CONFIG,
        "ssl.config.example": SSL_CONFIG,
    }


def flags(settings: Settings, config_dir: str = "/etc/serving") -> list[str]:
    """The flags of `tensorflow_model_server`; docs/production.md gives the reason for each.

    Args:
        settings: of the deployment.
        config_dir: where the files of `config/` are inside the container.
    """
    connection = {
        "grpc.max_connection_age_ms": 300_000,
        "grpc.max_connection_age_grace_ms": 30_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
    }
    values = {
        "port": GRPC_PORT,
        "rest_api_port": REST_PORT,
        "model_config_file": f"{config_dir}/models.config",
        "model_config_file_poll_wait_seconds": settings.poll_seconds,
        "file_system_poll_wait_seconds": settings.poll_seconds,
        "monitoring_config_file": f"{config_dir}/monitoring.config",
        "num_load_threads": 1,
        "num_unload_threads": 1,
        "max_num_load_retries": 1,
        "load_retry_interval_micros": 5_000_000,
        "tensorflow_intra_op_parallelism": max(settings.cpus // 2, 1),
        "tensorflow_inter_op_parallelism": settings.cpus,
        "grpc_max_threads": 16 * settings.cpus,
        "enable_profiler": "false",
        "enable_grpc_healthcheck_service": "true",
        "grpc_channel_arguments": ",".join(f"{key}={value}" for key, value in connection.items()),
    }
    if settings.labels:  # at the first start no version is loaded yet that a label could point to
        values["allow_version_labels_for_unavailable_models"] = "true"
    return [f"--{name}={value}" for name, value in values.items()]
