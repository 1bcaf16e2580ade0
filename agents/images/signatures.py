"""Signatures of images by key, as cosign makes them, checked offline: who signed, and whether it was this very image.

Two forms exist. The older is a signature over a small JSON document that names the image's digest; the newer a bundle
that holds a DSSE envelope around an in-toto statement. In either, the digest is what counts: a name can be anything.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import Base64Bytes, BaseModel, ConfigDict

from agents.images.errors import SignatureError
from cubes.public_keys import PublicKey, fingerprint, public_key

SIMPLE_TYPE: Final = "cosign container image signature"
STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"


class SignedPayload(BaseModel):
    """One signature and what it signs; nothing is believed of it before it is verified."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["simple", "dsse"]
    payload: Base64Bytes
    signature: Base64Bytes

    def signed_bytes(self) -> bytes:
        """What the key signed: for DSSE with type and lengths before it, so that neither can be moved."""
        if self.form == "simple":
            return self.payload
        kind = STATEMENT_TYPE.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def names(self, digest: str) -> bool:
        """Whether it is about the image of this digest."""
        try:
            said = json.loads(self.payload)
            if self.form == "simple":
                critical = said["critical"]
                return bool(critical["type"] == SIMPLE_TYPE and critical["image"]["docker-manifest-digest"] == digest)
            wanted = digest.removeprefix("sha256:")
            return bool(
                said["predicateType"] == _PREDICATE
                and any(subject["digest"].get("sha256") == wanted for subject in said["subject"])
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False


def require_signature(image: str, digest: str, signatures: Iterable[SignedPayload], keys: Sequence[str]) -> str:
    """The fingerprint of a trusted key that signed the image.

    Args:
        image: for the message.
        digest: of the manifest that was registered.
        signatures: what was found; anything may be among it.
        keys: public keys that are trusted.

    Raises:
        SignatureError: no signature by any of them is about this image.
    """
    found = list(signatures)
    about = [signed for signed in found if signed.names(digest)]
    for signed in about:
        for pem in keys:
            if _verifies(signed, public_key(pem)):
                return fingerprint(pem)
    trusted = ", ".join(fingerprint(pem)[7:19] for pem in keys) or "none"
    raise SignatureError(
        f"the image {image!r} ({digest}) is signed by no key that is trusted here ({trusted}):"
        f" {len(found)} signature(s) found, {len(about)} of them about this image. Sign it with one of these keys, or"
        " ask the benchmark's committee which it trusts"
    )


def parse_bundle(raw: bytes) -> SignedPayload | None:
    """The envelope of a sigstore bundle; None where it holds none that is understood."""
    try:
        envelope: dict[str, Any] = json.loads(raw)["dsseEnvelope"]
        if envelope["payloadType"] != STATEMENT_TYPE:
            return None
        (signature,) = envelope["signatures"]
        return signed_payload("dsse", base64.b64decode(envelope["payload"], validate=True), signature["sig"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None


def signed_payload(form: Literal["simple", "dsse"], payload: bytes, signature: str) -> SignedPayload | None:
    """From raw parts; None where the signature is not base64."""
    try:
        base64.b64decode(signature, validate=True)
        return SignedPayload.model_validate(
            {"form": form, "payload": base64.b64encode(payload), "signature": signature}
        )
    except ValueError:
        return None


def _verifies(signed: SignedPayload, key: PublicKey) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed.signature, signed.signed_bytes())
        else:
            key.verify(signed.signature, signed.signed_bytes(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
