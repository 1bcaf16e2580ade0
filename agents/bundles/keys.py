"""The key with which a place signs its bundles: made once, and never leaving it."""

import base64
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from agents.errors import HomeError
from agents.home import read_private, write_private
from agents.locks import locked


class SigningKey:
    """An Ed25519 key."""

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_pem(self) -> str:
        """What others must trust."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def signing_key(path: Path) -> SigningKey:
    """The key in a file that only its owner can read; made when there is none.

    Raises:
        HomeError: others may read it, or it is no key.
    """
    try:
        text = read_private(path)
    except FileNotFoundError:
        text = _made(path)
    try:
        return SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True)))
    except ValueError:
        raise HomeError(f"{str(path)!r} holds no signing key: remove it, and tell others the new public key") from None


def _made(path: Path) -> str:
    """A new key in a file; of two who make one at once, both get the first's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            key = ed25519.Ed25519PrivateKey.generate()
            write_private(path, base64.b64encode(key.private_bytes_raw()).decode() + "\n")
        return read_private(path)
