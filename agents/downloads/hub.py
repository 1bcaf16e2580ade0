"""What a model hub says of a file before it is read. Only here is the hub's own library loaded.

The library names the file and asks for its metadata; it fetches nothing. Its client is shared by the process, reads a
token from the home folder unless told otherwise, and takes the public hub for a friend of every other: so the client is
made here, and each request is shown to the site's rules first.
"""

import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx2

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read once, by the import below
from huggingface_hub import get_hf_file_metadata, hf_hub_url, parse_hf_uri, set_client_factory
from huggingface_hub.errors import HfHubHTTPError

_TIMEOUT_S: Final = 60.0
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = {"model", "dataset"}
_NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""What hubs and the proxies in front of them answer to a HEAD that they do not serve."""
_MOST_REDIRECTS: Final = 5
_rule: ContextVar[Callable[[httpx2.Request], None]] = ContextVar("rule")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of a hub."""

    kind: str
    repository: str
    revision: str
    path: str

    @property
    def is_pinned(self) -> bool:
        """Whether its revision is a commit, which never moves."""
        return _COMMIT.fullmatch(self.revision) is not None

    def url(self, endpoint: str) -> str:
        return hf_hub_url(self.repository, self.path, repo_type=self.kind, revision=self.revision, endpoint=endpoint)

    def at(self, commit: str) -> str:
        """The same file at one commit, as `parse_file` reads it."""
        return f"hf://{self.kind}s/{self.repository}@{commit}/{self.path}"


@dataclass(frozen=True, slots=True)
class HubMetadata:
    """What a hub says of a file; None where it does not say."""

    commit: str | None
    size: int | None
    digest: str | None
    """Of the content. A hub knows it of its large files only: the tag of others is Git's."""


def parse_file(url: str) -> HubFile:
    """Read `hf://[datasets/]org/name@revision/path`.

    Raises:
        ValueError: it is no file of a model or a dataset.
    """
    uri = parse_hf_uri(url)
    revision = "main" if uri.revision is None else uri.revision
    steps = {*revision.split("/"), *uri.path_in_repo.split("/")}
    if uri.type not in _KINDS or steps & {"", ".", ".."}:
        raise ValueError(url)
    return HubFile(uri.type, uri.id, revision, uri.path_in_repo)


def ask(url: str, token: str | None, rule: Callable[[httpx2.Request], None]) -> HubMetadata:
    """Ask for the metadata behind a URL of `HubFile.url`; a hub that does not let itself be asked is read for one byte.

    Args:
        url: the file's.
        token: sent along; without one nothing is, whatever the home folder or the environment holds.
        rule: sees each request, also where the hub leads on to, and raises where it may not be made.

    Raises:
        httpx2.HTTPStatusError: it is not given.
        httpx2.HTTPError: no answer.
    """
    before = _rule.set(rule)
    try:
        return _ask_for_headers(url, token)
    except httpx2.HTTPStatusError as error:
        if error.response.status_code not in _NO_HEAD:
            raise
    except httpx2.RemoteProtocolError:  # hung up instead of saying that it does not answer HEAD
        pass
    finally:
        _rule.reset(before)
    return _read_one_byte(url, token, rule)


def _ask_for_headers(url: str, token: str | None) -> HubMetadata:
    try:
        # The library's own name for its user lists the packages of this machine.
        found = get_hf_file_metadata(
            url, token=False if token is None else token, timeout=_TIMEOUT_S, headers={"user-agent": "assay"}
        )
    except HfHubHTTPError as error:
        error.response.raise_for_status()  # says the same, as every other client does
        raise
    return _metadata(found.commit_hash, found.size, found.etag)


def _read_one_byte(url: str, token: str | None, rule: Callable[[httpx2.Request], None]) -> HubMetadata:
    """The same headers, of a GET. As with HEAD, what leads elsewhere is not followed: what is said there is not the hub's."""
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity", "User-Agent": "assay"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with httpx2.Client(event_hooks={"request": [rule]}, timeout=_TIMEOUT_S) as client:
        for _ in range(_MOST_REDIRECTS):
            with client.stream("GET", url, headers=headers) as answer:
                onwards = answer.headers.get("location", "")
                if answer.is_redirect and not urlsplit(onwards).netloc:
                    url = str(answer.url.join(onwards))
                    continue
                if not answer.is_redirect:
                    answer.raise_for_status()
                return _said(answer)
    raise httpx2.TooManyRedirects(f"more than {_MOST_REDIRECTS} redirects", request=answer.request)


def _said(answer: httpx2.Response) -> HubMetadata:
    of, length = answer.headers.get("content-range", "").rpartition("/")[2], answer.headers.get("content-length", "")
    here = "" if answer.is_redirect else of if answer.status_code == httpx2.codes.PARTIAL_CONTENT else length
    size = answer.headers.get("x-linked-size", here)
    tag = answer.headers.get("x-linked-etag") or answer.headers.get("etag") or ""
    return _metadata(
        answer.headers.get("x-repo-commit"),
        int(size) if size.isdigit() else None,
        tag.removeprefix("W/").strip('"'),
    )


def _metadata(commit: str | None, size: int | None, tag: str | None) -> HubMetadata:
    return HubMetadata(
        commit if commit is not None and _COMMIT.fullmatch(commit) else None,
        size,
        f"sha256:{tag}" if tag is not None and _SHA256.fullmatch(tag) else None,
    )


def _client() -> httpx2.Client:
    return httpx2.Client(event_hooks={"request": [_apply_rule]})


def _apply_rule(request: httpx2.Request) -> None:
    """Whose turn it is says what may be asked; nobody's request is not made."""
    _rule.get()(request)


set_client_factory(_client)
