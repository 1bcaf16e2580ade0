"""Public keys that people trust: read strictly, known by a fingerprint of the key itself."""

from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import AfterValidator, StringConstraints

from cubes.digests import digest_bytes

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def public_key(pem: str) -> PublicKey:
    """A key from its PEM: ECDSA on P-256 or P-384, or Ed25519.

    Raises:
        ValueError: no key, or one of another kind.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"this is no public key in PEM ({error}): export the public half of the pair") from None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    raise ValueError("this key is of a kind that is not used here: ECDSA on P-256 or P-384, or Ed25519")


def fingerprint(pem: str) -> str:
    """A digest of the key itself, however it is written."""
    der = public_key(pem).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return digest_bytes(der)


def _checked(pem: str) -> str:
    public_key(pem)
    return pem


PublicKeyPem = Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True), AfterValidator(_checked)]
"""A public key in PEM: ECDSA on P-256 or P-384, or Ed25519."""
