"""Docker Compose: one server beside Prometheus and Grafana."""

from __future__ import annotations

from serving.deploy.monitoring import DASHBOARDS
from serving.deploy.server_files import GRPC_PORT, REST_PORT, flags
from serving.deploy.settings import Settings

_COMPOSE = """\
# docker compose up -d --wait
# MODELS is the directory on this machine whose children are the models, e.g. saved_models.
services:
  serving:
    image: {image}
    # `init` is tini: the image's own script neither passes signals on nor uses exec.
    init: true
    entrypoint: ["tensorflow_model_server"]
    command:
{command}
    ports:
      - "127.0.0.1:{grpc}:{grpc}"
      - "127.0.0.1:{rest}:{rest}"
    volumes:
      - "${{MODELS:?set MODELS to the directory that holds the models}}:/models:ro"
      - "./config:/etc/serving:ro"
    healthcheck:
      # Bash by name: CMD-SHELL takes sh, which is dash in this image and knows no /dev/tcp.
      test: ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/{grpc}"]
      interval: 5s
      timeout: 3s
      retries: 3
      start_period: {start}s
    stop_grace_period: 30s
    restart: unless-stopped
    cpus: {cpus}.0
    mem_limit: {memory}m
    read_only: true
    tmpfs: ["/tmp"]
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]

  prometheus:
    image: prom/prometheus:v3.5.0
    volumes:
      - "./prometheus:/etc/prometheus:ro"
    ports:
      - "127.0.0.1:9090:9090"
    profiles: ["monitoring"]

  grafana:
    image: grafana/grafana:12.1.0
    volumes:
      - "./grafana/provisioning:/etc/grafana/provisioning:ro"
      - "./grafana/dashboard.json:{dashboards}/dashboard.json:ro"
    ports:
      - "127.0.0.1:3000:3000"
    profiles: ["monitoring"]
"""


def compose_file(settings: Settings) -> str:
    """The text of docker-compose.yaml."""
    return _COMPOSE.format(
        image=settings.image,
        command="\n".join(f'      - "{flag}"' for flag in flags(settings)),
        grpc=GRPC_PORT,
        rest=REST_PORT,
        start=settings.start_seconds,
        cpus=settings.cpus,
        memory=settings.memory_megabytes,
        dashboards=DASHBOARDS,
    )
