"""sealing: what people entrust to the hub and it has to say again, so that no hash will do, sealed for the database.

The key is made of the hub's secret, which lies beside the database, never in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12  # bytes, as NIST SP 800-38D, 8.2.2, wants a random one


def seal(secret: bytes, text: str, *, label: str) -> str:
    """`text`, legible only with the hub's secret and the same label, which says what it is of; fit for a column."""
    nonce = secrets.token_bytes(NONCE)
    return base64.b64encode(nonce + _cipher(secret).encrypt(nonce, text.encode(), label.encode())).decode()


def unseal(secret: bytes, sealed: str, *, label: str) -> str | None:
    """What was sealed; None where it was with another secret or for another label, or was changed since."""
    raw = base64.b64decode(sealed)
    try:
        return _cipher(secret).decrypt(raw[:NONCE], raw[NONCE:], label.encode()).decode()
    except InvalidTag:
        return None


def _cipher(secret: bytes) -> AESGCM:
    """AES-256-GCM under a key that signs no tickets."""
    return AESGCM(hmac.digest(secret, b"modelcommons sealing\0", hashlib.sha256))
