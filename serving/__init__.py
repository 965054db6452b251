"""Contract C: the wire protocol, the client, the embedded server."""
