"""The server's options: flag names and defaults of `tensorflow_model_server`, and a few of our own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ServerOptions(BaseModel):
    """Every field is a command-line flag of the same name (`--name=value`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    # Flags of TensorFlow Serving.
    port: int = Field(8500, ge=0, le=65535, description="TCP port of the gRPC API; 0 takes a free one.")
    grpc_socket_path: str = Field("", description="Unix socket to listen on too, for the gRPC API.")
    grpc_channel_arguments: str = Field(
        "", description="Comma-separated arguments of the gRPC server, e.g. grpc.max_connection_age_ms=2000."
    )
    ssl_config_file: Path | None = Field(
        None, description="SSLConfig in text format: TLS for the gRPC API; read again when it changes."
    )
    rest_api_port: int = Field(
        0, ge=-1, le=65535, description="TCP port of the REST API; 0: none; -1, which is ours: a free one."
    )
    rest_api_timeout_in_ms: int = Field(30_000, ge=1, description="Milliseconds a REST call may take.")
    rest_api_enable_cors_support: bool = Field(False, description="Send CORS headers with REST answers.")
    monitoring_config_file: Path | None = Field(
        None, description="MonitoringConfig in text format: metrics for Prometheus on the REST port."
    )
    model_name: str = Field("default", description="Name of the model.")
    model_base_path: Path | None = Field(
        None, description="Directory whose children are version directories, e.g. saved_models/my-model."
    )
    model_config_file: Path | None = Field(
        None, description="ModelServerConfig in text format: several models, policies and labels."
    )
    model_config_file_poll_wait_seconds: int = Field(
        0, ge=0, description="Seconds between two looks at the model config file; 0 looks once."
    )
    allow_version_labels_for_unavailable_models: bool = Field(
        False, description="Labels may point to versions that are not loaded (yet)."
    )
    file_system_poll_wait_seconds: int = Field(
        1, ge=0, description="Seconds between two looks for new versions; 0 looks once."
    )
    max_num_load_retries: int = Field(5, ge=0, description="How often a failed load is tried again.")
    load_retry_interval_micros: int = Field(
        60_000_000, description="Microseconds between two tries; negative does not wait."
    )
    num_load_threads: int = Field(
        0, ge=0, description="How many models may load at the same time; 0 takes the number of cores."
    )
    saved_model_tags: str = Field("serve", description="Comma-separated tags of the graph to load.")
    tensorflow_intra_op_parallelism: int = Field(
        0, ge=0, description="Threads inside one operation; 0 uses all cores."
    )
    tensorflow_inter_op_parallelism: int = Field(
        0, ge=0, description="Operations at the same time; 0 uses all cores."
    )
    grpc_max_threads: int = Field(
        4 * (os.cpu_count() or 1), ge=1, description="Model runs at the same time without batching."
    )
    enable_batching: bool = Field(
        False, description="Join calls into batches by TensorFlow's own batch scheduler."
    )
    batching_parameters_file: Path | None = Field(
        None, description="BatchingParameters in text format, for --enable_batching."
    )
    enable_per_model_batching_parameters: bool = Field(
        False, description="Read batching_params.pbtxt of each version directory instead."
    )
    enable_profiler: bool = Field(
        False,
        description="Answer TensorFlow's profiler service (on in the real server unless told otherwise).",
    )
    enable_grpc_healthcheck_service: bool = Field(
        True,
        description="Answer the standard gRPC health protocol (off in the real server unless asked for).",
    )
    enable_model_warmup: bool = Field(
        True, description="Replay assets.extra/tf_serving_warmup_requests before a version serves."
    )
    num_request_iterations_for_warmup: int = Field(0, ge=0, description="Times each warm-up record is run.")
    enable_serialization_as_tensor_content: bool = Field(
        False, description="Answer Predict with tensor_content instead of typed fields."
    )
    enable_signature_method_name_check: bool = Field(
        False, description="Classify and Regress only take signatures of their own method_name."
    )

    # Ours.
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 or [::] for all (ours).")
    op_modules: str = Field(
        "",
        description="Comma-separated Python modules that register more operations, for models of ScaNN "
        "scann.scann_ops.py.scann_ops (ours).",
    )
    auth_token_file: Path | None = Field(
        None, description="Lines 'caller token'; calls must send 'authorization: Bearer TOKEN' (ours)."
    )
    max_requests_per_second_per_caller: float | None = Field(
        None, gt=0, description="Quota of one token, or of one address without tokens (ours)."
    )
    max_concurrent_requests: int | None = Field(
        None, ge=1, description="More gRPC calls at the same time get RESOURCE_EXHAUSTED (ours)."
    )
    request_log_dir: Path | None = Field(
        None, description="Log a sample of the successful Predict calls to files here (ours)."
    )
    request_log_sampling_rate: float = Field(0.01, ge=0, le=1, description="Share of calls logged (ours).")
    request_log_format: Literal["jsonl", "tfrecord"] = Field(
        "jsonl", description="jsonl, or tfrecord: PredictionLog records, fit for warm-up (ours)."
    )
    request_log_masked_inputs: str = Field(
        "", description="Comma-separated inputs that are never logged, such as user ids (ours)."
    )
    enable_reload_config: bool = Field(
        False, description="Answer HandleReloadConfigRequest, which changes what is served (ours)."
    )
    micro_batching: bool = Field(False, description="Join calls that wait for a model into one run (ours).")
    micro_batching_max_rows: int = Field(64, ge=1, description="Rows of the largest joined run (ours).")
    max_message_bytes: int = Field(
        256 * 1024 * 1024, ge=1, le=2**31 - 1, description="Largest request taken (ours)."
    )
    max_batch_rows: int = Field(1_000_000, ge=1, description="Largest first dimension of an input (ours).")
    max_string_bytes: int = Field(
        16 * 1024 * 1024, ge=1, description="Longest string in an input, in bytes (ours)."
    )
    enable_tracing: bool = Field(
        False, description="Make OpenTelemetry spans; needs twotower[tracing] (ours)."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="The log on stderr: text, or json, an object a line (ours)."
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="How long running calls may take to finish after SIGTERM (ours)."
    )
