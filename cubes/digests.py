"""Digests: how everything in Assay is named by its content."""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NewType

import rfc8785
from pydantic import StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 lower-case hexadecimal digits."""

ExecutionIdentity = NewType("ExecutionIdentity", str)
ScoreIdentity = NewType("ScoreIdentity", str)

_CHUNK = 1 << 20
_NON_FINITE = {"float:nan": math.nan, "float:inf": math.inf, "float:-inf": -math.inf}


def tag_non_finite(value: Any) -> Any:
    """The value with NaN and the infinities replaced by the strings `float:nan`, `float:inf` and `float:-inf`.

    JSON (RFC 8259) cannot carry them, and a metric may legitimately be undefined: this is the one place that says how.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "float:nan" if math.isnan(value) else ("float:inf" if value > 0 else "float:-inf")
    if isinstance(value, Mapping):
        return {key: tag_non_finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [tag_non_finite(item) for item in value]
    return value


def untag_non_finite(value: Any) -> Any:
    """The inverse of `tag_non_finite`."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, Mapping):
        return {key: untag_non_finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [untag_non_finite(item) for item in value]
    return value


def canonical(value: Any) -> bytes:
    """Canonical JSON (RFC 8785) of plain data, UTF-8, with non-finite numbers tagged.

    Raises:
        rfc8785.CanonicalizationError: an integer beyond 2**53 or a value that JSON does not know.
    """
    return rfc8785.dumps(tag_non_finite(value))


def digest_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """The digest of plain data: sha256 over its canonical JSON."""
    return digest_bytes(canonical(value))


def digest_file(path: Path | str) -> str:
    """The digest of a file's content, read in pieces of 1 MiB.

    Raises:
        OSError: the path is a symbolic link or cannot be read.
    """
    sha = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(_CHUNK):
            sha.update(piece)
    return "sha256:" + sha.hexdigest()


def short(digest: str) -> str:
    """The first twelve hexadecimal digits: for people, never for comparison."""
    return digest.removeprefix("sha256:")[:12]


def execution_identity(
    *, model: str, parameters: str | None, additional_files: str | None, dataset_root: str
) -> ExecutionIdentity:
    """What makes two executions the same: model pack, parameters, additional files and dataset root (all digests)."""
    return ExecutionIdentity(
        digest_of(
            {
                "model": model,
                "parameters": parameters,
                "additional_files": additional_files,
                "dataset_root": dataset_root,
            }
        )
    )


def score_identity(
    execution: ExecutionIdentity, *, metrics: str, parameters: str | None, additional_files: str | None
) -> ScoreIdentity:
    """What makes two scores the same: the execution's identity and the metrics cube with what it was given."""
    return ScoreIdentity(
        digest_of(
            {
                "execution": execution,
                "metrics": metrics,
                "parameters": parameters,
                "additional_files": additional_files,
            }
        )
    )
