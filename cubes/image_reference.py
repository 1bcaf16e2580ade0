"""References to container images: which registry, which repository, and whether the bytes are named or only a label."""

import re
from dataclasses import dataclass, replace
from typing import Final

DEFAULT_REGISTRY: Final = "docker.io"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_REGISTRY: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9-]+(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One image in a registry; with a digest it names bytes, with a tag alone whatever the tag points to today."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return self.name + tag + digest

    def pinned(self, digest: str) -> "ImageReference":
        """The same image with its bytes named; the tag stays, for people."""
        return replace(self, digest=digest)


def parse_reference(text: str) -> ImageReference:
    """An image reference as `docker pull` reads it; one without tag and digest means `latest`.

    Raises:
        ValueError: says which part is wrong.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"the image {text!r} has a wrong digest: write @sha256: and 64 lower-case hexadecimal digits")
    registry, repository = _split_registry(rest)
    repository, colon, tag = repository.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"the image {text!r} has a wrong tag {tag!r}: letters, digits, '.', '_' and '-' alone")
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    if not _REPOSITORY.fullmatch(repository) or not _REGISTRY.fullmatch(registry) or len(repository) > 255:  # noqa: PLR2004
        raise ValueError(f"{text!r} is no image reference: write registry/repository:tag, in lower-case letters")
    return ImageReference(registry, repository, tag or (None if at else "latest"), digest or None)


def _split_registry(text: str) -> tuple[str, str]:
    """As the Docker engine does: a first part with a dot or a port, or `localhost`, is a registry."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DEFAULT_REGISTRY, text
