"""Where a URL leads, scheme by scheme. Each opens a file from an offset on; what comes is hashed by the caller."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx2
import structlog

from agents.downloads.errors import DownloadFailedError, DownloadRefusedError
from agents.downloads.settings import DownloadSettings
from agents.hosts import is_here

if TYPE_CHECKING:
    from agents.downloads.hub import HubFile, HubMetadata

_CHUNK: Final = 1 << 20
_TIMEOUT_S: Final = 60.0
_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being read."""

    offset: int
    """Where the pieces begin: what was asked for, or zero where the other side cannot go on."""
    size: int | None
    """Of the whole file, where it is known."""
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, as far as its server says so before it is read."""

    url: str
    """Where to read it; a revision that may move is replaced by what it is now."""
    size: int | None = None
    digest: str | None = None


class Scheme(Protocol):
    def look(self, url: str) -> Found:
        """What is there, before anything of it is read.

        Raises:
            DownloadError: it may not be fetched, is not there, or its server is away.
        """
        ...

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

    def look(self, url: str) -> Found:
        return Found(url)

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

    def look(self, url: str) -> Found:
        return Found(url)

    @contextmanager
    def open(self, url: str, offset: int) -> Iterator[Opened]:
        headers = {"Accept-Encoding": "identity", **self._headers()}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with self._client() as client, client.stream("GET", url, headers=headers) as answer:
                yield _opened(url, offset, answer)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _not_had_now(url, error) from error

    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            timeout=httpx2.Timeout(_TIMEOUT_S, connect=10.0),
            follow_redirects=True,
            event_hooks={"request": [self.check]},
        )

    def check(self, request: httpx2.Request) -> None:
        """Refuse what would be asked in the clear.

        Raises:
            DownloadRefusedError: the settings do not allow it.
        """
        netloc = request.url.netloc.decode()
        plain = request.url.scheme == "http" and (netloc in self._settings.plain_http or is_here(request.url.host))
        if request.url.scheme != "https" and not plain:
            raise DownloadRefusedError(
                f"{netloc!r} is asked over plain HTTP: use HTTPS, or name it in the site's settings under"
                " downloads.plain_http"
            )


class HubScheme:
    """`hf://[datasets/]org/name@revision/path`, at whichever hub the settings name."""

    def __init__(self, settings: DownloadSettings, token: Callable[[], str | None]) -> None:
        self._settings, self._token = settings, token
        self._endpoint = httpx2.URL(settings.hub_endpoint)
        self._web = WebScheme(settings, self._headers)
        self._log = structlog.get_logger().bind(scheme="hf")

    def look(self, url: str) -> Found:
        """Ask the hub for size, digest and commit; what is read then is of that commit, however often it breaks off."""
        file = self._parse(url)
        said = self._ask(url, file.url(self._settings.hub_endpoint))
        if file.is_pinned and said.commit not in {None, file.revision}:
            raise DownloadRefusedError(
                f"{url!r}: its hub answers with the commit {said.commit!r} instead. Ask who runs the hub"
            )
        if said.commit is None or said.commit == file.revision:
            return Found(url, said.size, said.digest)
        self._log.info("a revision is pinned", url=url, revision=file.revision, commit=said.commit)
        return Found(file.at(said.commit), said.size, said.digest)

    def open(self, url: str, offset: int) -> AbstractContextManager[Opened]:
        return self._web.open(self._parse(url).url(self._settings.hub_endpoint), offset)

    def _parse(self, url: str) -> "HubFile":
        from agents.downloads.hub import parse_file  # noqa: PLC0415 - loads the hub's library

        try:
            return parse_file(url)
        except ValueError:
            raise DownloadRefusedError(
                f"{url!r} is no file of a hub: write hf://org/name@revision/path/in/it"
            ) from None

    def _ask(self, url: str, where: str) -> "HubMetadata":
        from agents.downloads.hub import ask  # noqa: PLC0415 - loads the hub's library

        try:
            return ask(where, self._token(), self._check)
        except httpx2.HTTPStatusError as error:
            raise _not_had(url, error.response.status_code) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _not_had_now(url, error) from error

    def _check(self, request: httpx2.Request) -> None:
        """The token is for this hub alone, so it is asked about its files and nobody else is."""
        self._web.check(request)
        asked, own = request.url, self._endpoint
        if (asked.scheme, asked.netloc) != (own.scheme, own.netloc):
            raise DownloadRefusedError(
                f"{self._settings.hub_endpoint!r} leads on to {asked.netloc.decode()!r} for what it should say itself: name"
                " that hub in the site's settings under downloads.hub_endpoint"
            )

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
    raise _not_had(url, answer.status_code)


def _not_had_now(url: str, error: Exception) -> DownloadFailedError:
    return DownloadFailedError(f"{url!r} cannot be had now ({error or type(error).__name__}): try again")


def _not_had(url: str, status: int) -> DownloadFailedError:
    return DownloadFailedError(
        f"{url!r} cannot be had: its server answered {status}. Correct the URL, or ask its owner"
    )
