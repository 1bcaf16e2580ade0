"""The JSON documents of an image: index, manifest, configuration, as OCI and Docker write them."""

import json
import platform
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agents.images.errors import ImageRefusedError
from cubes.digests import Digest

OCI: Final = "application/vnd.oci.image."
DOCKER: Final = "application/vnd.docker."
MANIFEST_TYPES: Final = (
    OCI + "index.v1+json",
    OCI + "manifest.v1+json",
    DOCKER + "distribution.manifest.list.v2+json",
    DOCKER + "distribution.manifest.v2+json",
)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_Open = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be, and what it may become."""

    document_bytes: int = 4 << 20
    layer_bytes: int = 20 << 30
    image_bytes: int = 40 << 30
    """All layers together, as they come."""
    layers: int = 128
    unpacked_bytes: int = 80 << 30
    entries: int = 1_000_000


def _nothing_is_empty(value: Any) -> Any:
    return () if value is None else value


def _no_text_is_empty(value: Any) -> Any:
    return "" if value is None else value


_Words = Annotated[tuple[str, ...], BeforeValidator(_nothing_is_empty)]
_Word = Annotated[str, BeforeValidator(_no_text_is_empty)]


class Platform(BaseModel):
    model_config = _Open

    os: str = ""
    architecture: str = ""


class Descriptor(BaseModel):
    """A blob by digest and size."""

    model_config = _Open

    media_type: str = Field(default="", alias="mediaType")
    digest: Digest
    size: int = Field(ge=0)
    platform: Platform | None = None
    annotations: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = {}


class Index(BaseModel):
    """One image for several machines."""

    model_config = _Open

    manifests: tuple[Descriptor, ...] = Field(max_length=1000)

    def here(self, name: str) -> Descriptor:
        """The manifest for this machine.

        Raises:
            ImageRefusedError: there is none; says for which machines there are.
        """
        wanted = architecture()
        for manifest in self.manifests:
            if manifest.platform is not None and (manifest.platform.os, manifest.platform.architecture) == (
                "linux",
                wanted,
            ):
                return manifest
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        there = ", ".join(f"{m.platform.os}/{m.platform.architecture}" for m in self.manifests if m.platform) or "none"
        raise ImageRefusedError(f"the image {name!r} has nothing for linux/{wanted}; it has: {there}")


class Manifest(BaseModel):
    """One image: its configuration and its layers, the lowest first."""

    model_config = _Open

    config: Descriptor
    layers: tuple[Descriptor, ...]


class ProcessConfig(BaseModel):
    """How the image wants to be run."""

    model_config = _Open

    environment: _Words = Field(default=(), alias="Env")
    entrypoint: _Words = Field(default=(), alias="Entrypoint")
    command: _Words = Field(default=(), alias="Cmd")
    working_directory: _Word = Field(default="", alias="WorkingDir")
    user: _Word = Field(default="", alias="User")


class RootFileSystem(BaseModel):
    model_config = _Open

    diff_ids: tuple[Digest, ...]


class ImageConfig(BaseModel):
    """An image's configuration; `diff_ids` name its layers as they are after decompression."""

    model_config = _Open

    os: str = ""
    architecture: str = ""
    config: Annotated[ProcessConfig, BeforeValidator(lambda value: {} if value is None else value)] = Field(
        default_factory=ProcessConfig
    )
    rootfs: RootFileSystem


Document = TypeVar("Document", bound=BaseModel)


def read(kind: type[Document], raw: bytes, what: str) -> Document:
    """A document from its bytes, read strictly: a key that is there twice could mean two things.

    Raises:
        ImageRefusedError: it is not such a document.
    """
    try:
        return kind.model_validate(json.loads(raw, object_pairs_hook=_once))
    except (ValueError, RecursionError, ValidationError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ImageRefusedError(f"{what} cannot be read ({reason}): push the image again") from None


def is_index(raw: bytes) -> bool:
    """Whether a document lists manifests rather than layers."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "manifests" in document and "layers" not in document


def architecture() -> str:
    """This machine's architecture, in the words of images."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found
