"""Whose signature an image needs at this site: what the site's settings ask, and every benchmark that uses the cube."""

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agents.home import write_private
from agents.images.errors import SignatureError
from agents.images.signature_search import SignatureSource, find_signatures
from agents.images.signatures import SignedPayload, require_signature
from cubes.contract import ContainerType, Contract
from cubes.image_reference import ImageReference

_KEPT: TypeAdapter[tuple[SignedPayload, ...]] = TypeAdapter(tuple[SignedPayload, ...])


@dataclass(frozen=True, slots=True)
class Demand:
    """One of these keys must have signed."""

    by: str
    """Who asks: a benchmark, or the site itself."""
    keys: tuple[str, ...]


class ImageTrust:
    """Checks signatures, and keeps those that it found: the next time needs no registry, nor does an air-gapped site.

    Args:
        folder: where signatures are kept, one file a digest.
        sources: the registry of a reference.
    """

    def __init__(
        self, folder: Path, sources: Callable[[ImageReference], AbstractContextManager[SignatureSource]]
    ) -> None:
        self._folder, self._sources = folder, sources

    def check(self, contract: Contract, demands: Iterable[Demand]) -> tuple[str, ...]:
        """The fingerprints of the keys that signed a cube's image, one for each demand.

        Raises:
            SignatureError: a demand is not met, or the cube's image is of a kind that cannot be signed.
            ImageUnavailableError: no signature is kept here, and the registry is away.
        """
        asked = tuple(demands)
        if not asked or not contract.container_type.is_image:
            return ()
        if contract.container_type != ContainerType.DOCKER_IMAGE or contract.reference.digest is None:
            raise SignatureError(
                f"{asked[0].by} asks for signed images, and a {contract.container_type.value} carries no signature:"
                " push the image to a registry, sign it there, and register it by digest"
            )
        reference = contract.reference
        try:
            return _signers(reference, self.kept(reference), asked)
        except SignatureError:
            with self._sources(reference) as source:
                found = find_signatures(source, str(reference.digest))
            signers = _signers(reference, found, asked)
            self.keep(reference, found)
            return signers

    def kept(self, reference: ImageReference) -> tuple[SignedPayload, ...]:
        """Signatures that are at this site already; they are verified each time."""
        try:
            return _KEPT.validate_json(self._file(reference).read_bytes())
        except (OSError, ValidationError):
            return ()

    def keep(self, reference: ImageReference, signatures: Iterable[SignedPayload]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = [json.loads(signed.model_dump_json()) for signed in signatures]
        write_private(self._file(reference), json.dumps(kept))

    def _file(self, reference: ImageReference) -> Path:
        return self._folder / f"{str(reference.digest).removeprefix('sha256:')}.json"


def _signers(
    reference: ImageReference, signatures: tuple[SignedPayload, ...], demands: tuple[Demand, ...]
) -> tuple[str, ...]:
    signers = []
    for demand in demands:
        try:
            signers.append(require_signature(str(reference), str(reference.digest), signatures, demand.keys))
        except SignatureError as error:
            raise SignatureError(f"{demand.by} asks for a signature: {error}") from None
    return tuple(signers)
