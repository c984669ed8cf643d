"""tickets: a permission that travels in a URL: what, where, for whom and until when, signed with the hub's secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from modelcommons.errors import Unauthorized

UPLOAD_S = 3600  # longest life of a ticket to upload
DOWNLOAD_S = 600  # longest life of a ticket to download
MAX_TICKET = 4096  # characters


def issue(secret: bytes, *, expires: float, **claims: Any) -> str:
    """A ticket that says `claims` until `expires`, in Unix seconds; fit for a URL and for a Bearer token."""
    body = json.dumps({**claims, "expires": int(expires)}, sort_keys=True, separators=(",", ":")).encode()
    return f"{_text(body)}.{_text(_seal(secret, body))}"


def read(secret: bytes, text: str, now: float) -> dict[str, Any]:
    """What a ticket says.

    Raises:
        Unauthorized: it is none of ours, was changed, or its time is over; one answer for all of these.
    """
    body, _, seal = text.partition(".")
    try:
        if len(text) > MAX_TICKET or not text.isascii():
            raise ValueError
        given, content = _bytes(seal), _bytes(body)
        if not hmac.compare_digest(given, _seal(secret, content)):
            raise ValueError
    except ValueError:
        raise _refused() from None
    claims: dict[str, Any] = json.loads(content)
    if claims["expires"] <= now:
        raise _refused()
    return claims


def _refused() -> Unauthorized:
    return Unauthorized("Expected a ticket of this hub that has not run out. Ask for the upload or download again.")


def _seal(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, b"modelcommons ticket\0" + body, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # binascii.Error is a ValueError; validate: base64 would otherwise skip what it does not know
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
