"""The image of a cube, whichever way its contract names it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.images.archives import ArchiveSource
from agents.images.credentials import Login
from agents.images.errors import ImageRefusedError
from agents.images.source import ImageSource
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
        login: the site's login for a registry, for engines that pull by themselves.
    """

    def __init__(
        self, store: ImageStore, fetch: FetchFile | None = None, login: Callable[[str], Login | None] | None = None
    ) -> None:
        self.store, self._fetch = store, fetch
        self.login = login or (lambda _registry: None)

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

    @contextmanager
    def source_of(self, cube: CubeBundle) -> Iterator[tuple[ImageSource, str, str]]:
        """Where an image's verified parts come from, for engines that are given them: with its digest and name.

        Raises:
            ImageError: it cannot be had.
        """
        if cube.contract.container_type == ContainerType.DOCKER_IMAGE:
            reference = cube.contract.reference
            with self.store.source(reference) as source:
                yield source, str(reference.digest), str(reference)
        else:
            with ArchiveSource(self.archive(cube), self.store.limits) as archive:
                yield archive, archive.digest, str(cube.contract.image)

    def archive(self, cube: CubeBundle) -> Path:
        """The archive of a DockerArchive: a file of the pack, or fetched and verified."""
        image, digest = cube.contract.image or "", cube.contract.archive_digest
        if "://" not in image:
            return cube.folder / image
        if self._fetch is None or digest is None:
            raise ImageRefusedError(f"the archive {image!r} lies at a URL, and this site fetches none")
        return self._fetch(image, digest)
