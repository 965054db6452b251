"""Downloads a file over http(s)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from beam_pipelines.errors import InputError

MAX_DOWNLOAD = 2 << 30  # bytes
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 18


def download(address: str, target: Path, progress: Callable[[int, int | None], None]) -> None:
    """Downloads an address to a file.

    Args:
        address: http or https.
        target: written as the bytes come; the caller publishes it when all is well.
        progress: called with the bytes so far and the total, where the server tells it.

    Raises:
        InputError: the address cannot be read, the answer is cut off or larger than 2 GiB.
    """
    if not address.startswith(("http://", "https://")):
        raise InputError(f"{address!r}: only http and https addresses can be downloaded.")
    request = urllib.request.Request(address, headers={"User-Agent": "twotower"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, target.open("wb") as file:  # noqa: S310
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            done = 0
            while chunk := answer.read(_CHUNK):
                done += len(chunk)
                if done > MAX_DOWNLOAD:
                    raise InputError(
                        f"{address}: sends more than {MAX_DOWNLOAD:,} bytes; download it yourself."
                    )
                file.write(chunk)
                progress(done, total)
    except (urllib.error.URLError, OSError) as error:
        raise InputError(
            f"{address}: cannot be downloaded ({error}). Check the address and the network."
        ) from None
    if total is not None and done != total:
        raise InputError(f"{address}: ended after {done:,} of {total:,} bytes. Run the command again.")
