"""An OCI registry over HTTPS: a tag resolved once, everything else by digest and verified as it comes.

A registry is not trusted: not for contents, which digests decide, nor for sizes, nor with a password beyond the token
service that it names over HTTPS.
"""

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx2

from agents.hosts import is_here
from agents.images.credentials import Login
from agents.images.documents import MANIFEST_TYPES, Descriptor, ImageLimits
from agents.images.errors import ImageRefusedError, ImageUnavailableError
from agents.images.source import verified, write_verified
from cubes.digests import digest_bytes
from cubes.image_reference import DEFAULT_REGISTRY, ImageReference

_HUB: Final = "registry-1.docker.io"
_ACCEPT: Final = ", ".join(MANIFEST_TYPES)
_CHALLENGE: Final = re.compile(r'([a-z]+)="([^"]*)"')
_TRIES: Final = 3
_PAUSE_S: Final = 0.5
_CHUNK: Final = 1 << 20
_TOKEN_BYTES: Final = 64 << 10
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """How a site talks to registries."""

    login: Callable[[str], Login | None] = lambda _registry: None
    """The site's login for a registry."""
    plain_http: frozenset[str] = frozenset()
    """Registries (`host:port`) to which the site's settings allow plain HTTP. The machine itself always is one."""
    limits: ImageLimits = field(default_factory=ImageLimits)
    timeout_s: float = 60.0
    pause_s: float = _PAUSE_S
    """Before a second try; twice as long before the third."""


class _TryAgainError(Exception):
    """The registry is busy or was cut off."""


class RegistrySource:
    """One repository of one registry.

    Args:
        reference: whose registry and repository.
        access: credentials and limits of the site.
    """

    def __init__(self, reference: ImageReference, access: RegistryAccess) -> None:
        self._reference, self._access = reference, access
        self._token: str | None = None
        host = _HUB if reference.registry == DEFAULT_REGISTRY else reference.registry
        here = is_here(_without_port(host))
        plain = here or host in access.plain_http
        self._allowed = {host} if plain else set[str]()
        self._base = f"{'http' if plain else 'https'}://{host}/v2/{reference.repository}"
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(access.timeout_s, connect=10.0),
            follow_redirects=True,
            # A proxy of the hospital is for what is outside.
            trust_env=not here,
            event_hooks={"request": [self._check_scheme]},
        )

    def close(self) -> None:
        self._client.close()

    def resolve(self) -> str:
        """The digest that the tag names now: of the bytes that came, not of what the registry says of them.

        Raises:
            ImageError: no such tag, no access, or the registry is away.
        """
        return digest_bytes(self._manifest(self._reference.tag or "latest"))

    def manifest(self, digest: str) -> bytes:
        return verified(self._manifest(digest), digest, f"the manifest of {self._reference.name}")

    def tagged(self, tag: str) -> bytes | None:
        """The manifest under a tag of this repository, by no digest: for signatures, which prove themselves."""
        try:
            return self._manifest(tag)
        except ImageUnavailableError as error:
            if isinstance(error, _NotThereError):
                return None
            raise

    def referrers(self, digest: str) -> bytes | None:
        """The index of what refers to a manifest; None where the registry keeps none."""
        try:
            return self._retried(lambda: self._small(f"/referrers/{digest}", self._access.limits.document_bytes))
        except _NotThereError:
            return None

    def document(self, descriptor: Descriptor) -> bytes:
        what = f"the blob {descriptor.digest} of {self._reference.name}"
        if descriptor.size > self._access.limits.document_bytes:
            raise ImageRefusedError(f"{what} says {descriptor.size} bytes: a document is smaller")
        data = self._retried(lambda: self._small(f"/blobs/{descriptor.digest}", descriptor.size))
        return verified(data, descriptor.digest, what)

    def layer(self, descriptor: Descriptor, target: Path) -> None:
        def once() -> None:
            with self._open(f"/blobs/{descriptor.digest}") as answer:
                what = f"the layer {descriptor.digest} of {self._reference.name}"
                write_verified(answer.iter_raw(_CHUNK), target, descriptor, what)

        self._retried(once)

    def _manifest(self, reference: str) -> bytes:
        return self._retried(lambda: self._small(f"/manifests/{reference}", self._access.limits.document_bytes))

    def _small(self, path: str, limit: int) -> bytes:
        data = b""
        with self._open(path) as answer:
            for piece in answer.iter_raw(_CHUNK):
                data += piece
                if len(data) > limit:
                    raise ImageRefusedError(f"{self._base}{path} is larger than {limit} bytes: nothing was kept")
        return data

    @contextmanager
    def _open(self, path: str) -> Iterator[httpx2.Response]:
        """A successful answer, its body yet to be read; asks for a token where one is wanted."""
        for last in (False, True):
            # Identity alone: what is hashed must be what was stored.
            headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
            if self._token is not None:
                headers["Authorization"] = self._token
            with self._client.stream("GET", self._base + path, headers=headers) as answer:
                if answer.status_code == httpx2.codes.UNAUTHORIZED and not last:
                    self._token = self._authorize(answer.headers.get("www-authenticate", ""))
                    continue
                _raise_for(answer, self._reference)
                yield answer
                return

    def _authorize(self, challenge: str) -> str:
        """What to send as `Authorization`, from what the registry asks for."""
        login = self._access.login(self._reference.registry)
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and login is not None:
            return _basic(login)
        asked = dict(_CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in asked:
            raise ImageUnavailableError(
                f"the registry {self._reference.registry!r} wants a login: give this site one, which stays here"
            )
        wanted = {"scope": f"repository:{self._reference.repository}:pull"}
        wanted |= {"service": asked["service"]} if "service" in asked else {}
        headers = {} if login is None else {"Authorization": _basic(login)}
        answer = self._client.get(asked["realm"], params=wanted, headers=headers)
        _raise_for(answer, self._reference)
        try:
            said = answer.json() if len(answer.content) < _TOKEN_BYTES else {}
            return f"Bearer {said.get('token') or said['access_token']}"
        except (ValueError, KeyError, AttributeError):
            raise ImageUnavailableError(
                f"the token service of {self._reference.registry!r} gave no token: ask whoever runs it"
            ) from None

    def _check_scheme(self, request: httpx2.Request) -> None:
        """Also of token services and of redirections: nothing goes out in the clear that need not."""
        if request.url.scheme == "https" or (request.url.scheme == "http" and self._may_be_plain(request.url)):
            return
        raise ImageRefusedError(
            f"{request.url.host!r} is asked over plain HTTP: use HTTPS, or name {request.url.netloc.decode()!r} in the"
            " site's settings under images.plain_http"
        )

    def _may_be_plain(self, url: httpx2.URL) -> bool:
        netloc = url.netloc.decode()
        return netloc in self._allowed or netloc in self._access.plain_http

    def _retried(self, attempt: Callable[[], Answer]) -> Answer:
        for number in range(1, _TRIES + 1):
            try:
                return attempt()
            except (httpx2.TransportError, _TryAgainError) as error:
                reason = str(error) or type(error).__name__
                if number < _TRIES:
                    time.sleep(self._access.pause_s * number)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise ImageUnavailableError(f"{self._reference.name!r} cannot be had: {error}") from error
        raise ImageUnavailableError(
            f"the registry {self._reference.registry!r} cannot be reached ({reason}): try again when it is back"
        )


class _NotThereError(ImageUnavailableError):
    """404."""


def _raise_for(answer: httpx2.Response, reference: ImageReference) -> None:
    status = answer.status_code
    if status == httpx2.codes.NOT_FOUND:
        raise _NotThereError(f"{str(reference)!r} is not in its registry: correct the reference, or push the image")
    if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
        raise ImageUnavailableError(
            f"the registry {reference.registry!r} does not give {reference.repository!r} to this site ({status}): check"
            " the site's login for it"
        )
    if status in _PASSING:
        raise _TryAgainError(f"it answered {status}")
    if status != httpx2.codes.OK:
        raise ImageUnavailableError(f"the registry {reference.registry!r} answered {status} for {reference.name!r}")


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if not host.startswith("[") else host.partition("]")[0]
