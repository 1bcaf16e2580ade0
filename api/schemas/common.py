"""What every shape that crosses a border has in common: strict, immutable, limited in size."""

import math
from datetime import datetime
from typing import Annotated, Any, Generic, NewType, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

from cubes.digests import tag_non_finite, untag_non_finite

UserId = NewType("UserId", int)
OrganizationId = NewType("OrganizationId", int)
SiteId = NewType("SiteId", int)
CubeId = NewType("CubeId", int)
ModelId = NewType("ModelId", int)
BenchmarkId = NewType("BenchmarkId", int)
DatasetId = NewType("DatasetId", int)
AssociationId = NewType("AssociationId", int)
ExecutionId = NewType("ExecutionId", int)
ResultId = NewType("ResultId", int)
GateId = NewType("GateId", int)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,62}$")]
"""A short name for commands and URLs: lower-case letters, digits, `.`, `_`, `-`; 2 to 63 characters."""

Line = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$")
]
"""One line of text for people, at most 200 characters, no control characters."""

Text = Annotated[str, StringConstraints(max_length=20_000, strip_whitespace=True, pattern=r"^[^\x00]*$")]
"""Markdown for people, at most 20,000 characters."""

Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""The number of something at the registry, in a path or in what is sent."""

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}$", to_lower=True)]


def address(email: str) -> str:
    """An e-mail address as it is kept and looked up, everywhere: how somebody spelled it does not make them another person."""
    return email.strip().lower()


def _number(value: Any) -> Any:
    return untag_non_finite(value)


MetricNumber = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(
        lambda v: tag_non_finite(v) if not math.isfinite(v) else v, return_type=float | str, when_used="json"
    ),
]
"""A float; NaN and the infinities travel as `float:nan`, `float:inf`, `float:-inf`."""


class Strict(BaseModel):
    """The base of everything that crosses a border: unknown keys are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", allow_inf_nan=True)


Item = TypeVar("Item")


class Page(Strict, Generic[Item]):
    """One page of a list. `total` counts all that match the filters."""

    items: list[Item]
    total: int
    limit: int
    offset: int


class Problem(BaseModel):
    """An error as RFC 9457 prescribes; `fix` says what to do next."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    fix: str | None = None
    instance: str | None = None


class Stamped(Strict):
    """What the registry adds to every noun it keeps."""

    id: int
    created_at: datetime


Reason = Annotated[str, StringConstraints(min_length=1, max_length=2_000, strip_whitespace=True, pattern=r"^[^\x00]+$")]
Note = Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True, pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
