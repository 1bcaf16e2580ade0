"""The image of a cube, whichever way its contract names it."""

from collections.abc import Callable
from pathlib import Path

from agents.images.errors import ImageRefusedError
from agents.images.store import ImageStore, UnpackedImage
from agents.runtimes.protocol import CubeBundle
from cubes.contract import ContainerType

FetchFile = Callable[[str, str], Path]
"""From a URL and a digest to a file with that content."""


class CubeImages:
    """Images by contract.

    Args:
        store: the site's images.
        fetch: gets archives that lie at a URL; without it they are refused.
    """

    def __init__(self, store: ImageStore, fetch: FetchFile | None = None) -> None:
        self.store, self._fetch = store, fetch

    def of(self, cube: CubeBundle) -> UnpackedImage:
        """The cube's image, verified and unpacked.

        Raises:
            ImageError: it cannot be had, is not what its digest says, or is of a kind that runs nowhere here.
        """
        contract = cube.contract
        refusal = contract.container_type.unsupported or contract.unpinned
        if refusal is not None:
            raise ImageRefusedError(refusal)
        if contract.container_type == ContainerType.DOCKER_IMAGE:
            return self.store.get(contract.reference)
        return self.store.get_archive(self.archive(cube))

    def archive(self, cube: CubeBundle) -> Path:
        """The archive of a DockerArchive: a file of the pack, or fetched and verified."""
        image, digest = cube.contract.image or "", cube.contract.archive_digest
        if "://" not in image:
            return cube.folder / image
        if self._fetch is None or digest is None:
            raise ImageRefusedError(f"the archive {image!r} lies at a URL, and this site fetches none")
        return self._fetch(image, digest)
