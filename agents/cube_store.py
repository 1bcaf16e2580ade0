"""The site's cubes: fetched by digest, verified, unpacked, and looked over again before each use."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import yaml

from agents.environments import EnvironmentCache
from agents.errors import AgentError
from agents.home import write_private
from agents.locks import locked
from agents.manifest import Manifest, build_manifest
from agents.runtimes.protocol import CubeBundle
from api.schemas.cubes import CubeRef
from cubes.contract import Contract, load_contract
from cubes.digests import digest_file, digest_of
from cubes.errors import CubeError
from cubes.packing import UnpackLimits, unpack
from cubes.remote_files import remote_files


class CubeUnavailableError(AgentError):
    """A cube cannot be had, or is not what its digest says."""


class CubeStore:
    """Unpacked cubes and additional files below one folder, each named by its digest and read-only.

    Args:
        folder: where they lie.
        fetch: writes the blob of a digest into a file.
        environments: where given, a cube's Python environment is made ready too.
        check: where given, raises for a cube that this site does not trust.
        download: where given, gets additional files that a pack names by URL and digest.
        limits: how much a blob may become when it is unpacked.
    """

    def __init__(
        self,
        folder: Path,
        fetch: Callable[[str, Path], None],
        environments: EnvironmentCache | None = None,
        *,
        check: Callable[[CubeRef, Contract], object] | None = None,
        download: Callable[[str, str, Path], None] | None = None,
        limits: UnpackLimits | None = None,
    ) -> None:
        self._folder, self._fetch, self._environments = folder, fetch, environments
        self._check, self._download_from = check, download
        self._limits = limits or UnpackLimits()

    def bundle(self, ref: CubeRef) -> CubeBundle:
        """The cube, ready to run: what was approved, or nothing.

        Raises:
            CubeUnavailableError: not to be had, another digest than wanted, or a contract that cannot be used.
        """
        try:
            folder = self._content(ref.pack_digest)
            additional = self._additional_files(ref, folder)
            contract = load_contract(folder)
            if self._check is not None:
                self._check(ref, contract)
            if self._environments is not None and contract.requirements is not None:
                self._environments.get(folder / contract.requirements)
            return CubeBundle(
                contract=contract,
                pack_digest=ref.pack_digest,
                folder=folder,
                additional_files=additional,
                parameters_file=self._parameters(ref),
            )
        except (CubeError, AgentError, OSError) as error:
            raise CubeUnavailableError(f"cube {ref.name!r} ({ref.pack_digest}) cannot be used: {error}") from error

    def is_whole(self, digest: str) -> bool:
        """Whether the cube or files of a digest are here, and are what they were when they were unpacked."""
        return _is_whole(self._place(digest), digest)

    def content_of(self, digest: str) -> Path:
        """Where the unpacked blob of a digest lies, if it is here; whether it is whole is not looked at."""
        return self._place(digest) / "content"

    def changed(self) -> tuple[Path, ...]:
        """Places whose content is not what it was when it was unpacked; every byte is read."""
        places = [path.parent for path in sorted(self._folder.glob("*/manifest.json"))]
        return tuple(place for place in places if not _is_whole(place, f"sha256:{place.name}"))

    def _additional_files(self, ref: CubeRef, folder: Path) -> Path | None:
        """From the registry's blobs, or from where the pack itself says."""
        if ref.additional_files_digest is not None:
            return self._content(ref.additional_files_digest)
        remote = remote_files(folder)
        if remote is None:
            return None
        if self._download_from is None:
            raise CubeUnavailableError(f"its additional files lie at {remote.url!r}, and this site fetches none")
        download, url = self._download_from, remote.url
        return self._content(remote.digest, lambda digest, target: download(url, digest, target))

    def _content(self, digest: str, fetch: Callable[[str, Path], None] | None = None) -> Path:
        """The unpacked blob of a digest, fetched unless an untouched copy is here."""
        place = self._place(digest)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")):
            if not _is_whole(place, digest):
                _discard(place)
                for left in self._folder.glob(f".{place.name}.*"):  # by a crash; we hold the lock
                    _discard(left)
                self._get(digest, place, fetch or self._fetch)
        return place / "content"

    def _place(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")

    def _get(self, digest: str, place: Path, fetch: Callable[[str, Path], None]) -> None:
        fresh = place.with_name(f".{place.name}.{uuid4().hex}")
        fresh.mkdir(mode=0o700)
        archive, content = fresh / "archive", fresh / "content"
        try:
            self._download(digest, archive, fetch)
            unpack(archive, content, self._limits)
            archive.unlink()
            write_private(fresh / "manifest.json", build_manifest({"data": content}).model_dump_json())
            write_private(fresh / "digest", digest)
            _make_read_only(content)
            fresh.rename(place)
        finally:
            _discard(fresh)

    def _download(self, digest: str, archive: Path, fetch: Callable[[str, Path], None]) -> None:
        try:
            fetch(digest, archive)
        except Exception as error:
            raise CubeUnavailableError(f"the blob {digest} cannot be fetched: {error}") from error
        found = digest_file(archive)
        if found != digest:
            raise CubeUnavailableError(
                f"wanted {digest}, got {found}: what was approved is not what is there; nothing runs"
            )

    def _parameters(self, ref: CubeRef) -> Path | None:
        if not ref.parameters:
            return None
        found = digest_of(ref.parameters)
        if ref.parameters_digest not in {None, found}:
            raise CubeUnavailableError(
                f"wanted parameters {ref.parameters_digest}, got {found}: what was approved is not what was sent;"
                " nothing runs"
            )
        path = self._folder / f"parameters-{found.removeprefix('sha256:')}.yaml"
        write_private(path, yaml.safe_dump(ref.parameters, sort_keys=True))
        return path


def _is_whole(place: Path, digest: str) -> bool:
    """Whether what was unpacked is still what it was: every byte is read again."""
    try:
        manifest = Manifest.model_validate_json((place / "manifest.json").read_text(encoding="utf-8"))
        named = (place / "digest").read_text(encoding="ascii")
        return named == digest and build_manifest({"data": place / "content"}).root == manifest.root
    except (OSError, ValueError, AgentError):
        return False


def _make_read_only(content: Path) -> None:
    """Nobody changes a cube by mistake: files 0444 or 0555, folders 0555."""
    for here, _, names in os.walk(content, topdown=False):
        for name in names:
            path = Path(here) / name
            path.chmod(0o555 if path.stat().st_mode & stat.S_IXUSR else 0o444)
        Path(here).chmod(0o555)


def _discard(place: Path) -> None:
    """Remove a folder although it is read-only."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
        return
    for here, _, _ in os.walk(place):
        Path(here).chmod(0o700)
    shutil.rmtree(place)
