"""Who stands before a gate, and what the gate's keeper shows and takes: the same at a site and at the registry.

A site keeps its people and decisions in its store, the registry in its database. The layer in front of Prefect knows both
by these shapes alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field

from api.schemas.benchmarks import Verdict
from api.schemas.common import Strict


def benchmark_tag(benchmark_id: int) -> str:
    """The tag of flow runs that are about a benchmark: whoever may see that benchmark's runs finds them by it."""
    return f"benchmark-{benchmark_id}"


def gate_tag(gate_id: int) -> str:
    """The tag of flow runs that rest at a gate of the registry, for those whom that gate alone concerns."""
    return f"gate-{gate_id}"


class Standing(StrEnum):
    """What somebody is towards a Prefect server."""

    VIEWER = "viewer"
    """Reads the runs of their own benchmarks."""
    DELEGATE = "delegate"
    """A viewer in whose hands somebody has put their own decisions for a while: reads as before, and answers those gates."""
    OPERATOR = "operator"
    """Reads, and answers gates where the gates' keeper lets them."""
    WORKER = "worker"
    """Executes the runs of its own work pool; a machine."""
    SERVICE = "service"
    """The agent and the runner of flows beside this server; a machine."""
    ADMINISTRATOR = "administrator"
    """Reads and tidies up; decides nothing by this alone."""


PEOPLE: Final = frozenset({Standing.VIEWER, Standing.DELEGATE, Standing.OPERATOR, Standing.ADMINISTRATOR})
"""Those who are no machines."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who has proved who they are."""

    key: str
    """Stable and unique at this keeper of people: a session holds it."""
    name: str
    """For people: name and address."""
    standing: Standing
    tags: frozenset[str] | None = None
    """Runs with one of these tags are theirs to see; None: all."""
    pool: str | None = None
    """A worker's own work pool."""


class Answer(Strict):
    """What a person answers at a gate: in Prefect's pages, on our page, by the endpoint. Nobody's name is in it."""

    verdict: Verdict
    reason: str = Field(default="", max_length=2_000, pattern=r"^[^\x00]*$")
    """Required; of an approval, too, since it is kept for ever."""
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """The digest of what the person was shown."""
    withhold: list[str] = Field(default=[], max_length=10_000)
    """Items that stay while the rest goes ahead."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's decision at a gate."""

    person: str
    verdict: str
    reason: str
    decided_at: datetime
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateCard:
    """A gate as its keeper shows it to somebody who may look."""

    id: str
    name: str
    title: str
    subject: str
    shown: Mapping[str, Any]
    digest: str
    state: str
    opened_at: datetime
    flow_run_id: str | None
    open: bool
    """Whether a decision is still wanted."""
    decided: bool
    """Whether there is a decision that counts: its flow run may be woken."""
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    expires_at: datetime | None = None
    requested_by: str | None = None
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Item to the numbers that were last released for the same thing: what changed since."""
    barred: str | None = None
    """Why whoever looks cannot decide here now; None when they can."""
    in_place_of: str | None = None
    """Whose vote it would be if whoever looks decided: somebody who delegated to them; None for their own."""

    @property
    def verdict(self) -> Verdict | None:
        """How the votes stand: a single rejection rejects."""
        if not self.decided:
            return None
        return Verdict.REJECT if any(vote.verdict == Verdict.REJECT for vote in self.votes) else Verdict.APPROVE

    @property
    def answer(self) -> Answer:
        """The decision as an answer to the form in Prefect: whatever the browser sent, this is what is stored there."""
        vote = next(v for v in reversed(self.votes) if v.verdict == self.verdict)
        withheld = sorted({item for v in self.votes for item in v.withheld})
        return Answer(verdict=Verdict(vote.verdict), reason=vote.reason[:2_000], digest=self.digest, withhold=withheld)


def encrypted_issuer(issuer: str | None) -> str | None:
    """An identity provider's address, if it may be one.

    Raises:
        ValueError: not `https`, and not on this very machine.
    """
    if issuer is not None and not issuer.startswith("https://"):
        parts = urlsplit(issuer)
        if parts.scheme != "http" or parts.hostname not in {"localhost", "127.0.0.1"}:
            raise ValueError(f"issuer {issuer!r} is not https: whoever is on the way could be anybody")
    return issuer


class DeskError(Exception):
    """The keeper of people or gates says no; `status` is HTTP's."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
