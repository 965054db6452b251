"""TLS from an SSLConfig file in text format (PEM text inline), read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc

from serving.server.errors import ServingError, invalid_argument
from serving.server.model_config import parse_text
from serving.wire import messages as wire

_LOG = logging.getLogger(__name__)


class _Certificates:
    """Gives gRPC the newest certificates: it asks at every new connection."""

    def __init__(self, path: Path):
        self._path = path
        self._seen = _stamp(path)

    def fetch(self) -> Any:
        """The new configuration if the file has changed and is good; None keeps the old one."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            configuration = _configuration(read_ssl_config(self._path))
        except ServingError as error:
            _LOG.error("%s is not applied: %s", self._path, error)
            return None
        _LOG.info("Applied the changed %s", self._path)
        return configuration


def read_ssl_config(path: Path) -> Any:
    """Reads and checks an SSLConfig.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    config = parse_text(path, wire.SSLConfig())
    for name in ("server_key", "server_cert"):
        if "-----BEGIN " not in getattr(config, name):
            raise invalid_argument(f"{path}: {name} must hold PEM text, not a path")
    if config.client_verify and not config.custom_ca:
        raise invalid_argument(f"{path}: client_verify needs custom_ca, the CA that signs the clients")
    return config


def server_credentials(path: Path) -> Any:
    """Credentials for a gRPC port; with `client_verify` every client must show a certificate of `custom_ca`.

    Raises:
        ServingError: INVALID_ARGUMENT: the file is missing or does not hold what it must.
    """
    config = read_ssl_config(path)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(config),
        _Certificates(path).fetch,
        require_client_authentication=config.client_verify,
    )


def _configuration(config: Any) -> Any:
    pair = (config.server_key.encode(), config.server_cert.encode())
    return grpc.ssl_server_certificate_configuration([pair], config.custom_ca.encode() or None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
