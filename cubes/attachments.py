"""What an owner attaches to a cube: a bill of materials, a vulnerability report. Read as what strangers write.

Nothing of their texts is ever shown: people at a gate see counts, a date, and the digest of the document itself.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cubes.digests import Digest, digest_bytes
from cubes.errors import ReportError

MAX_ATTACHMENT_BYTES: Final = 16 << 20
_MOST: Final = 200_000
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?=T|$)")


class AttachmentKind(StrEnum):
    SBOM = "sbom"
    VULNERABILITIES = "vulnerabilities"


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEGLIGIBLE = "negligible"
    UNKNOWN = "unknown"


class Attachment(BaseModel):
    """A document that is attached: which one, and what it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: AttachmentKind
    media_type: Annotated[str, StringConstraints(max_length=100)]
    digest: Digest
    size: int = Field(ge=0)
    counts: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")], Annotated[int, Field(ge=0)]]
    """Of a bill of materials `components`; of a report its findings by severity."""
    dated: str | None = None
    """The day that the document gives itself."""


class _Format(NamedTuple):
    media_type: str
    is_it: Callable[[Mapping[str, Any]], bool]
    components: Callable[[Mapping[str, Any]], Iterator[Any]] | None
    severities: Callable[[Mapping[str, Any]], Iterator[Any]] | None
    date: tuple[str, ...]


def describe_attachment(data: bytes, kind: AttachmentKind) -> Attachment:
    """What a document is and counts.

    Raises:
        ReportError: too large, no JSON, or of a format that is not known for this kind.
    """
    document = _load(data)
    for each in _FORMATS:
        reads = each.components if kind == AttachmentKind.SBOM else each.severities
        if reads is not None and each.is_it(document):
            found = list(_limited(reads(document)))
            return Attachment(
                kind=kind,
                media_type=each.media_type,
                digest=digest_bytes(data),
                size=len(data),
                counts={"components": len(found)} if kind == AttachmentKind.SBOM else _by_severity(found),
                dated=_dated(document, each.date),
            )
    known = "CycloneDX or SPDX JSON" if kind == AttachmentKind.SBOM else "CycloneDX, Trivy or Grype JSON"
    raise ReportError(f"this is no {kind.value} document of a known format: give {known}")


def _load(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_ATTACHMENT_BYTES:
        raise ReportError(f"the document has {len(data)} bytes, more than {MAX_ATTACHMENT_BYTES}")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"the document is not plain JSON ({type(error).__name__}: {str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise ReportError("the document is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _limited(found: Iterator[Any]) -> Iterator[Any]:
    for number, item in enumerate(found, start=1):
        if number > _MOST:
            raise ReportError(f"the document lists more than {_MOST}")
        yield item


def _by_severity(found: list[Any]) -> dict[str, int]:
    counts = Counter(_severity(each) for each in found)
    return {severity.value: counts[severity] for severity in Severity}


def _severity(value: Any) -> Severity:
    word = value.lower() if isinstance(value, str) else ""
    word = _SYNONYMS.get(word, word)
    return Severity(word) if word in set(Severity) else Severity.UNKNOWN


def _list(value: Any, what: str) -> list[Any]:
    """A list of objects, or nothing.

    Raises:
        ReportError: something else is there.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ReportError(f"{what!r} is not a list of objects")
    return value


def _cyclonedx_components(document: Mapping[str, Any]) -> Iterator[Any]:
    waiting = _list(document.get("components"), "components")
    while waiting:
        yield (component := waiting.pop())
        waiting.extend(_list(component.get("components"), "components"))


def _spdx_packages(document: Mapping[str, Any]) -> Iterator[Any]:
    yield from _list(document.get("packages"), "packages")


def _cyclonedx_severities(document: Mapping[str, Any]) -> Iterator[Any]:
    """The worst rating of each: sources differ."""
    order = list(Severity)
    for vulnerability in _list(document.get("vulnerabilities"), "vulnerabilities"):
        ratings = [_severity(rating.get("severity")) for rating in _list(vulnerability.get("ratings"), "ratings")]
        yield min(ratings, key=order.index, default=Severity.UNKNOWN).value


def _trivy_severities(document: Mapping[str, Any]) -> Iterator[Any]:
    for result in _list(document.get("Results"), "Results"):
        for vulnerability in _list(result.get("Vulnerabilities"), "Vulnerabilities"):
            yield vulnerability.get("Severity")


def _grype_severities(document: Mapping[str, Any]) -> Iterator[Any]:
    for match in _list(document.get("matches"), "matches"):
        vulnerability = match.get("vulnerability")
        yield vulnerability.get("severity") if isinstance(vulnerability, dict) else None


def _dated(document: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    day = _DAY.match(found) if isinstance(found, str) else None
    return None if day is None else day.group()


_SYNONYMS: Final[Mapping[str, str]] = MappingProxyType(
    {"moderate": "medium", "info": "negligible", "none": "negligible", "important": "high"}
)
_FORMATS: Final = (
    _Format(
        "application/vnd.cyclonedx+json",
        lambda document: document.get("bomFormat") == "CycloneDX" and "components" in document,
        _cyclonedx_components,
        None,
        ("metadata", "timestamp"),
    ),
    _Format(
        "application/vnd.cyclonedx+json",
        lambda document: document.get("bomFormat") == "CycloneDX" and "vulnerabilities" in document,
        None,
        _cyclonedx_severities,
        ("metadata", "timestamp"),
    ),
    _Format(
        "application/spdx+json",
        lambda document: str(document.get("spdxVersion", "")).startswith("SPDX-2.") and "packages" in document,
        _spdx_packages,
        None,
        ("creationInfo", "created"),
    ),
    _Format(
        "application/vnd.aquasec.trivy.report+json",
        lambda document: document.get("SchemaVersion") == 2 and "Results" in document,  # noqa: PLR2004 - the format's
        None,
        _trivy_severities,
        ("CreatedAt",),
    ),
    _Format(
        "application/vnd.anchore.grype+json",
        lambda document: "matches" in document and "descriptor" in document,
        None,
        _grype_severities,
        ("descriptor", "timestamp"),
    ),
)
