"""Downloaded files, kept by digest within a limit."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.downloads.errors import DownloadFailedError, DownloadRefusedError, DownloadTamperedError
from agents.downloads.schemes import Opened, Scheme
from agents.downloads.settings import DownloadSettings
from agents.locks import locked
from cubes.digests import digest_file

_TRIES: Final = 3
_PAUSE_S: Final = 1.0
_IN_USE_S: Final = 86_400.0
"""What was used this recently may be in use by a step."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    digest: str
    size: int
    used_at: float


class Downloads:
    """Files from outside, below one folder.

    Args:
        folder: where they lie; what is not whole yet has the suffix `.part`.
        schemes: how each kind of URL is read.
        settings: how large one may be, and all of them.
        pause_s: before a second try; twice as long before the third.
    """

    def __init__(
        self, folder: Path, schemes: Mapping[str, Scheme], settings: DownloadSettings, *, pause_s: float = _PAUSE_S
    ) -> None:
        self._folder, self._schemes, self._settings, self._pause_s = folder, schemes, settings, pause_s
        self._most = int(settings.file_gib * (1 << 30))

    def get(self, url: str, digest: str) -> Path:
        """A file with this content; fetched, or found here whatever URL it came from.

        Raises:
            DownloadError: it may not be fetched, cannot be had, or is not what its digest says.
        """
        scheme = self._schemes.get(url.partition(":")[0])
        if scheme is None:
            known = ", ".join(f"{name}://" for name in sorted(self._schemes))
            raise DownloadRefusedError(f"{url!r} has a scheme that nobody here knows; known are {known}")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / digest.removeprefix("sha256:")
        with locked(place.with_suffix(".lock")):
            if not place.is_file() or digest_file(place) != digest:
                place.unlink(missing_ok=True)
                self._fetch(scheme, url, digest, place)
            os.utime(place)
        self.trim(keep=digest)
        return place

    def copy(self, url: str, digest: str, target: Path) -> None:
        """Write a file with this content to `target`, without keeping a second copy of it."""
        place = self.get(url, digest)
        shutil.move(place, target)

    def list(self) -> tuple[KeptFile, ...]:
        """What is kept, the least recently used first."""
        found = list[KeptFile]()
        for path in self._folder.glob("*"):
            with suppress(FileNotFoundError):  # somebody else removed it, or moved it to its place
                if path.is_file() and not path.suffix:
                    status = path.stat()
                    found.append(KeptFile(f"sha256:{path.name}", status.st_size, status.st_mtime))
        return tuple(sorted(found, key=lambda kept: kept.used_at))

    def changed(self) -> tuple[Path, ...]:
        """Files that are not what their digest says; every byte is read."""
        found = list[Path]()
        for kept in self.list():
            place = self._folder / kept.digest.removeprefix("sha256:")
            with suppress(FileNotFoundError):
                if digest_file(place) != kept.digest:
                    found.append(place)
        return tuple(found)

    def trim(self, *, keep: str = "") -> tuple[KeptFile, ...]:
        """Remove what is least recently used until all of it fits; what may be in use stays."""
        kept, removed = self.list(), list[KeptFile]()
        over = sum(file.size for file in kept) - int(self._settings.cache_gib * (1 << 30))
        for file in kept:
            if over <= 0:
                break
            if file.digest != keep and time.time() - file.used_at > _IN_USE_S:
                (self._folder / file.digest.removeprefix("sha256:")).unlink(missing_ok=True)
                removed.append(file)
                over -= file.size
        return tuple(removed)

    def _fetch(self, scheme: Scheme, url: str, digest: str, place: Path) -> None:
        part, where = place.with_suffix(".part"), ""
        for number in range(1, _TRIES + 1):
            try:
                where = where or self._look(scheme, url, digest, part)
                self._go_on(scheme, where, part)
                break
            except DownloadFailedError:
                if number == _TRIES:
                    raise
                time.sleep(self._pause_s * number)
        found = digest_file(part)
        if found != digest:
            part.unlink()
            raise DownloadTamperedError(url, digest, found)
        part.rename(place)

    def _look(self, scheme: Scheme, url: str, digest: str, part: Path) -> str:
        """Where to read it, unless its server says already that it is not what is wanted."""
        try:
            found = scheme.look(url)
            self._refuse_size(url, found.size or 0)
            _refuse_digest(url, digest, found.digest)
        except (DownloadRefusedError, DownloadTamperedError):
            part.unlink(missing_ok=True)
            raise
        return found.url

    def _go_on(self, scheme: Scheme, url: str, part: Path) -> None:
        """Read from where the last try broke off."""
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            have = file.seek(0, os.SEEK_END)
            try:
                with scheme.open(url, have) as opened:
                    self._refuse_size(url, opened.size or 0)
                    file.truncate(opened.offset)
                    file.seek(opened.offset)
                    self._copy(url, opened, file.fileno())
            except DownloadRefusedError:
                part.unlink(missing_ok=True)
                raise

    def _copy(self, url: str, opened: Opened, descriptor: int) -> None:
        have = opened.offset
        for piece in opened.pieces:
            have += len(piece)
            self._refuse_size(url, have)
            _write(descriptor, piece)
        if opened.size is not None and have < opened.size:
            raise DownloadFailedError(
                f"{url!r} broke off after {have} of {opened.size} bytes: the next try goes on there"
            )

    def _refuse_size(self, url: str, size: int) -> None:
        if size > self._most:
            raise DownloadRefusedError(
                f"{url!r} is larger than {self._most} bytes, the most that this site fetches: raise downloads.file_gib"
            )


def _refuse_digest(url: str, wanted: str, said: str | None) -> None:
    if said not in {None, wanted}:
        raise DownloadTamperedError(url, wanted, str(said))


def _write(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]
