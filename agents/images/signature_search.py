"""Where a registry keeps an image's signatures: under a tag made of its digest, or among what refers to it."""

from collections.abc import Iterator
from typing import Final, Protocol

from agents.images.documents import Descriptor, Index, Manifest, is_index, read
from agents.images.errors import ImageError
from agents.images.signatures import SignedPayload, parse_bundle, signed_payload

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_MOST: Final = 50


class SignatureSource(Protocol):
    """A registry, as far as signatures need one."""

    def manifest(self, digest: str) -> bytes: ...
    def document(self, descriptor: Descriptor) -> bytes: ...
    def tagged(self, tag: str) -> bytes | None: ...
    def referrers(self, digest: str) -> bytes | None: ...


def find_signatures(source: SignatureSource, digest: str) -> tuple[SignedPayload, ...]:
    """Everything that looks like a signature of this image; what cannot be read is left out.

    Raises:
        ImageUnavailableError: the registry is away.
    """
    return tuple(signed for signed in (*_older(source, digest), *_bundles(source, digest)) if signed is not None)


def _older(source: SignatureSource, digest: str) -> Iterator[SignedPayload | None]:
    raw = source.tagged(digest.replace(":", "-") + ".sig")
    for layer in _layers(raw):
        if layer.media_type == _SIMPLE_SIGNING and _SIGNATURE in layer.annotations:
            payload = _blob(source, layer)
            if payload is not None:
                yield signed_payload("simple", payload, layer.annotations[_SIGNATURE])


def _bundles(source: SignatureSource, digest: str) -> Iterator[SignedPayload | None]:
    # A registry without the referrers' list keeps the same index under a tag.
    for each in (*_listed(source.referrers(digest)), *_listed(source.tagged(digest.replace(":", "-")))):
        try:
            manifest = source.manifest(each.digest)
        except ImageError:
            continue
        for layer in _layers(manifest):
            if layer.media_type.startswith(_BUNDLE):
                bundle = _blob(source, layer)
                yield None if bundle is None else parse_bundle(bundle)


def _layers(raw: bytes | None) -> tuple[Descriptor, ...]:
    if raw is None or is_index(raw):
        return ()
    try:
        return read(Manifest, raw, "a signature").layers[:_MOST]
    except ImageError:
        return ()


def _listed(raw: bytes | None) -> tuple[Descriptor, ...]:
    if raw is None or not is_index(raw):
        return ()
    try:
        return read(Index, raw, "the list of signatures").manifests[:_MOST]
    except ImageError:
        return ()


def _blob(source: SignatureSource, descriptor: Descriptor) -> bytes | None:
    try:
        return source.document(descriptor)
    except ImageError:
        return None
