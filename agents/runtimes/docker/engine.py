"""The engine, by the Docker SDK: blocking calls, each short but pulling, and errors in the site's words."""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

import docker
import docker.errors
import docker.tls
import docker.utils.socket
import requests

from agents.images.cube_images import CubeImages
from agents.images.engine_archive import write_engine_archive
from agents.images.errors import ImageError, ImageTamperedError, ImageUnavailableError
from agents.runtimes.docker.container import API_VERSION, KEY_LABEL, SITE_LABEL
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.probe import is_probe
from agents.runtimes.protocol import CubeBundle, RuntimeSetupError
from cubes.contract import ContainerType
from cubes.image_reference import DEFAULT_REGISTRY, ImageReference, parse_reference

_PULL_TIMEOUT_S: Final = 3600.0
_OVER: Final = frozenset({"exited", "dead"})


class CannotStartError(Exception):
    """The engine made the container and could not start its program."""


class Said:
    """What a container says, until it ends or nobody listens any more; the SDK's own stream leaves its connection open."""

    def __init__(self, attached: Any) -> None:
        self._attached = attached

    def __iter__(self) -> Iterator[bytes]:
        try:
            for _stream, piece in docker.utils.socket.frames_iter(self._attached, tty=False):
                yield piece
        except OSError:
            return  # the engine went away: the step's state says so

    def close(self) -> None:
        self._attached._response.close()  # noqa: SLF001 - the SDK keeps the answer there, and closes neither
        self._attached.close()


class Engine:
    """A connection to one engine.

    Args:
        settings: where it is.
        site: whose containers these are.
        images: what this site carried here or may log in to.
    """

    def __init__(self, settings: DockerSettings, site: str, images: CubeImages) -> None:
        self._settings, self._site, self._images = settings, site, images
        self._client: docker.DockerClient | None = None

    @property
    def api(self) -> docker.APIClient:
        """Connected when it is first asked.

        Raises:
            RuntimeSetupError: nobody answers there.
        """
        if self._client is None:
            with _said_by_the_engine():
                self._client = self._connect()
        return self._client.api

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def ensure_image(self, cube: CubeBundle | None, fallback: str | None = None) -> str:
        """Have a cube's image in the engine; returns its identifier, which is a digest of its content.

        Args:
            cube: whose image; for folders the fallback is used.
            fallback: the image that runs folders.

        Raises:
            ImageError: it cannot be had, or is not what was approved.
            RuntimeSetupError: this site has no image for folders, or the engine is away.
        """
        if cube is None or cube.contract.container_type == ContainerType.FOLDER:
            if fallback is None:
                raise RuntimeSetupError(
                    "cubes that are folders need an image with Python: name one by digest in the site's settings"
                    " under docker.image"
                )
            return self._pulled(parse_reference(fallback))
        contract = cube.contract
        refusal = contract.container_type.unsupported or contract.unpinned
        if refusal is not None:
            raise ImageUnavailableError(refusal)
        if contract.container_type == ContainerType.DOCKER_IMAGE:
            reference = contract.reference
            if not self._images.store.carried.has(str(reference.digest)):
                return self._pulled(reference)
        return self._loaded(cube)

    def start(self, config: dict[str, Any], feed: Callable[[Said], None]) -> str:
        """Create a container, attach to what it says, start it.

        Args:
            config: what `step_container` made.
            feed: is given the container's output before it starts.

        Raises:
            CannotStartError: there is no such program in the image, or no place for a mount.
        """
        with _said_by_the_engine():
            name: str = self.api.create_container_from_config(config)["Id"]
        try:
            with _said_by_the_engine():
                feed(Said(self.api.attach_socket(name, {"stdout": 1, "stderr": 1, "stream": 1})))
                try:
                    self.api.start(name)
                except docker.errors.APIError as error:
                    raise CannotStartError(str(error.explanation or error)) from error
        except BaseException:
            self.remove(name)
            raise
        return name

    def state(self, name: str) -> dict[str, Any] | None:
        """The container's state; None when somebody removed it."""
        with _said_by_the_engine():
            try:
                return dict(self.api.inspect_container(name)["State"])
            except docker.errors.NotFound:
                return None

    def remove(self, name: str) -> None:
        """End a container and remove it; one that is gone is no error."""
        with _said_by_the_engine():
            try:
                self.api.remove_container(name, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != requests.codes.conflict:  # it is being removed already
                    raise

    def sweep(self, keep: Callable[[], Collection[str]]) -> int:
        """Remove this site's containers that belong to no step under way; returns how many."""
        with _said_by_the_engine():
            listed = self.api.containers(all=True, filters={"label": f"{SITE_LABEL}={self._site}"})
        kept = keep()
        lost = [found["Id"] for found in listed if found["Labels"].get(KEY_LABEL) not in kept and not _is_probe(found)]
        for name in lost:
            self.remove(name)
        return len(lost)

    def _connect(self) -> docker.DockerClient:
        folder = self._settings.tls_folder
        tls = docker.tls.TLSConfig(
            client_cert=(f"{folder}/cert.pem", f"{folder}/key.pem"), ca_cert=f"{folder}/ca.pem", verify=True
        ) if folder else None  # fmt: skip
        if self._settings.host is None:
            return docker.from_env(version=API_VERSION, timeout=self._settings.timeout_s)
        options = {} if tls is None else {"tls": tls}
        return docker.DockerClient(
            self._settings.host, version=API_VERSION, timeout=self._settings.timeout_s, **options
        )

    def _pulled(self, reference: ImageReference) -> str:
        """By digest: the engine verifies the manifest and every layer against it."""
        name = reference.name.removeprefix(f"{DEFAULT_REGISTRY}/library/").removeprefix(f"{DEFAULT_REGISTRY}/")
        by_digest = f"{name}@{reference.digest}"
        found = self._inspected(by_digest)
        if found is None:
            self._pull(reference, by_digest)
            found = self._inspected(by_digest)
        if found is None or by_digest not in (found.get("RepoDigests") or ()):
            raise ImageUnavailableError(f"the engine pulled {by_digest!r} and does not have it: look at its log")
        return str(found["Id"])

    def _pull(self, reference: ImageReference, by_digest: str) -> None:
        login = self._images.login(reference.registry)
        auth = {} if login is None else {"username": login.user, "password": login.password}
        with _said_by_the_engine():
            try:
                self.api.timeout = _PULL_TIMEOUT_S
                for said in self.api.pull(by_digest, stream=True, decode=True, auth_config=auth):
                    if "error" in said:
                        raise ImageUnavailableError(f"{by_digest!r} cannot be pulled: {said['error']}")
            except docker.errors.APIError as error:
                raise ImageUnavailableError(f"{by_digest!r} cannot be pulled: {error.explanation or error}") from error
            finally:
                self.api.timeout = self._settings.timeout_s

    def _loaded(self, cube: CubeBundle) -> str:
        """An image that was carried here, or lies in an archive: verified by us, then given to the engine."""
        with self._images.source_of(cube) as (source, digest, name), tempfile.TemporaryFile() as archive:
            identifier = write_engine_archive(source, digest, name, archive, self._images.store.limits)
            if self._inspected(identifier) is None:
                archive.seek(0)
                self._load(archive, name)
        found = self._inspected(identifier)
        if found is None or found["Id"] != identifier:
            raise ImageTamperedError(f"the image {name!r} in the engine", identifier, str(found and found["Id"]))
        return identifier

    def _load(self, archive: IO[bytes], name: str) -> None:
        with _said_by_the_engine():
            for said in self.api.load_image(archive, quiet=True):
                if "error" in said:
                    raise ImageUnavailableError(f"the engine does not take {name!r}: {said['error']}")

    def _inspected(self, name: str) -> dict[str, Any] | None:
        with _said_by_the_engine():
            try:
                return dict(self.api.inspect_image(name))
            except docker.errors.NotFound:
                return None


def _is_probe(found: Mapping[str, Any]) -> bool:
    """Whether a container is a probe under way, maybe another process's."""
    return is_probe(found["Labels"].get(KEY_LABEL, "")) and found.get("State") not in _OVER


@contextmanager
def _said_by_the_engine() -> Iterator[None]:
    try:
        yield
    except (ImageError, CannotStartError, RuntimeSetupError):
        raise
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        said = getattr(error, "explanation", None) or error
        raise RuntimeSetupError(
            f"the container engine does not do what a step needs ({said}): see that it runs and that this user may use it"
        ) from error
