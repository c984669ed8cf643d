"""keys: Ed25519, made on first use, readable by its owner only; the public half has a fingerprint to compare."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from modelcommons.errors import Forged, FormatError


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self.private.sign(message)


def fingerprint(public: bytes) -> str:
    """Short and comparable by eye: `mc:` and 24 base32 letters (120 bits) of the public key's SHA-256, by fours."""
    letters = base64.b32encode(hashlib.sha256(public).digest()[:15]).decode().lower()
    return "mc:" + "-".join(letters[at : at + 4] for at in range(0, 24, 4))


def check(public: bytes, signature: bytes, message: bytes) -> None:
    """Passes when the signature is right.

    Raises:
        Forged: it is not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Forged("The signature does not fit the signed bytes: the receipt was edited or forged.") from None


def passing() -> Key:
    """A key that nobody keeps."""
    return Key(Ed25519PrivateKey.generate())


def own(folder: Path | None = None) -> Key:
    """The person's key, made on first use as `key.pem` (mode 0600) in the platform's configuration folder."""
    folder = folder or platformdirs.user_config_path("modelcommons", appauthor=False)
    path = folder / "key.pem"
    try:
        return load(path)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        raw = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        part = path.with_name(f".key.{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)  # fails where another process was quicker; then its key is the key
        except FileExistsError:
            pass
        finally:
            part.unlink()
        return load(path)


def load(path: Path) -> Key:
    """A key from a PEM file."""
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is locked with a password
        raise FormatError(
            f"Expected a PEM private key in {path}: {error}. Move it away to have a new one made."
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise FormatError(f"Expected an Ed25519 key in {path}, it is of another kind. Move it away.")
    return Key(private)
