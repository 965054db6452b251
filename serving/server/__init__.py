"""A model server in Python that speaks TensorFlow Serving's protocol: `EmbeddedServer`, `twotower serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.server.models import StartError
    from serving.server.options import ServerOptions
    from serving.server.server import EmbeddedServer

__all__ = ["EmbeddedServer", "ServerOptions", "StartError"]


def __getattr__(name: str) -> Any:
    """Imports TensorFlow only when a server is asked for."""
    if name == "ServerOptions":
        from serving.server.options import ServerOptions

        return ServerOptions
    if name in ("EmbeddedServer", "StartError"):
        from serving.server import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
