"""Where a URL leads, scheme by scheme. Each opens a file from an offset on; what comes is hashed by the caller."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote, urlsplit

import httpx2

from agents.downloads.errors import DownloadFailedError, DownloadRefusedError
from agents.downloads.settings import DownloadSettings

_CHUNK: Final = 1 << 20
_TIMEOUT_S: Final = 60.0
_HUB: Final = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+?))?/+([^@\s]+)")
_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being read."""

    offset: int
    """Where the pieces begin: what was asked for, or zero where the other side cannot go on."""
    size: int | None
    """Of the whole file, where it is known."""
    pieces: Iterator[bytes]


class Scheme(Protocol):
    def open(self, url: str, offset: int) -> AbstractContextManager[Opened]:
        """Read a file from an offset on.

        Raises:
            DownloadError: it may not be fetched, is not there, or its server is away.
        """
        ...


class LocalScheme:
    """`file:///path`, below folders that the site's settings name."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._folders = settings.local_folders

    @contextmanager
    def open(self, url: str, offset: int) -> Iterator[Opened]:
        parts = urlsplit(url)
        path = Path(unquote(parts.path)).resolve()
        if parts.netloc not in {"", "localhost"} or not any(path.is_relative_to(f.resolve()) for f in self._folders):
            raise DownloadRefusedError(
                f"{url!r} is in no folder that this site lets cubes name: add it to downloads.local_folders"
            )
        try:
            file = path.open("rb")
        except OSError as error:
            raise DownloadFailedError(f"{url!r} cannot be read: {error.strerror}") from None
        with file:
            file.seek(offset)
            yield Opened(offset, path.stat().st_size, iter(lambda: file.read(_CHUNK), b""))


class WebScheme:
    """`https://`, and `http://` where the settings allow it.

    Args:
        settings: of the site.
        headers: sent to the URL's own host alone, not to where it redirects.
    """

    def __init__(self, settings: DownloadSettings, headers: Callable[[], dict[str, str]] = dict) -> None:
        self._settings, self._headers = settings, headers

    @contextmanager
    def open(self, url: str, offset: int) -> Iterator[Opened]:
        headers = {"Accept-Encoding": "identity", **self._headers()}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with self._client() as client, client.stream("GET", url, headers=headers) as answer:
                yield _opened(url, offset, answer)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadFailedError(
                f"{url!r} cannot be had now ({error or type(error).__name__}): try again"
            ) from error

    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            timeout=httpx2.Timeout(_TIMEOUT_S, connect=10.0),
            follow_redirects=True,
            event_hooks={"request": [self._check_scheme]},
        )

    def _check_scheme(self, request: httpx2.Request) -> None:
        netloc = request.url.netloc.decode()
        plain = request.url.scheme == "http" and (netloc in self._settings.plain_http or _is_here(request.url.host))
        if request.url.scheme != "https" and not plain:
            raise DownloadRefusedError(
                f"{netloc!r} is asked over plain HTTP: use HTTPS, or name it in the site's settings under"
                " downloads.plain_http"
            )


class HubScheme:
    """`hf://org/name@revision/path`, at whichever hub the settings name."""

    def __init__(self, settings: DownloadSettings, token: Callable[[], str | None]) -> None:
        self._settings, self._token = settings, token
        self._web = WebScheme(settings, self._headers)

    def open(self, url: str, offset: int) -> AbstractContextManager[Opened]:
        found = _HUB.fullmatch(url)
        if found is None or ".." in url.split("/"):
            raise DownloadRefusedError(f"{url!r} is no file of a hub: write hf://org/name@revision/path/in/it")
        repository, revision, path = found[1], found[2] or "main", found[3]
        where = f"{self._settings.hub_endpoint}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return self._web.open(where, offset)

    def _headers(self) -> dict[str, str]:
        token = self._token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def all_schemes(settings: DownloadSettings, hub_token: Callable[[], str | None]) -> dict[str, Scheme]:
    """Every scheme that a site knows, by its name."""
    web = WebScheme(settings)
    return {"https": web, "http": web, "file": LocalScheme(settings), "hf": HubScheme(settings, hub_token)}


def _opened(url: str, offset: int, answer: httpx2.Response) -> Opened:
    pieces = answer.iter_raw()  # as they come: what a break would lose in a buffer is kept
    if answer.status_code == httpx2.codes.PARTIAL_CONTENT:
        given = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if given is None or int(given[1]) != offset:
            raise DownloadFailedError(f"{url!r}: its server goes on somewhere else than it was asked to: try again")
        return Opened(offset, None if given[2] == "*" else int(given[2]), pieces)
    if answer.status_code == httpx2.codes.OK:
        length = answer.headers.get("content-length", "")
        return Opened(0, int(length) if length.isdigit() else None, pieces)
    if answer.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
        return Opened(offset, offset, iter(()))  # all of it is here, or too much: its digest decides
    status = answer.status_code
    raise DownloadFailedError(f"{url!r} cannot be had: its server answered {status}. Correct the URL, or ask its owner")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
