"""The site's people and gates as the layer in front of its Prefect server knows them (flows.server.protocol)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from sqlmodel import Session, col, select

from agents.errors import (
    AgentError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    NotSignedInError,
)
from agents.store import Store, gates, people
from agents.store.delegations import decides_for, decides_somewhere
from agents.store.tables import Gate, GateState, Person, Role, Score, ScoreState
from api.schemas.sign_in import Answer, DeskError, GateCard, SignedIn, Standing, Vote, benchmark_tag
from api.storage.columns import now

_STATUS: Final[dict[type[AgentError], HTTPStatus]] = {
    NotSignedInError: HTTPStatus.UNAUTHORIZED,
    NotPermittedError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
}
_PERSON: Final = "person:"


class SitePeople:
    """The people of a site."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def by_password(self, email: str, password: str) -> SignedIn:
        with _told(), self._store.read() as session:
            return _signed_in(session, people.by_password(session, email, password))

    def by_token(self, secret: str) -> SignedIn:
        with _told(), self._store.read() as session:
            return _signed_in(session, people.sign_in(session, secret))

    def by_subject(self, issuer: str, subject: str, email: str) -> SignedIn:
        try:
            with self._store.write() as session:
                return _signed_in(session, people.by_subject(session, issuer, subject, email))
        except NotSignedInError as error:
            raise DeskError(HTTPStatus.FORBIDDEN, str(error)) from None

    def by_key(self, key: str) -> SignedIn | None:
        """Sessions outlive a token's expiry, never its revocation."""
        with self._store.read() as session:
            person = session.get(Person, int(key.removeprefix(_PERSON)))
            return None if person is None or person.revoked_at is not None else _signed_in(session, person)


class SiteGates:
    """The gates of a site. Decisions are written by `agents.store.gates.decide`, as those of the command line are."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self, who: SignedIn) -> list[GateCard]:
        with self._store.read() as session:
            person = _person(session, who)
            return [
                _card(session, gate, person) for gate in gates.list_gates(session) if _may_look(session, gate, person)
            ]

    def get(self, who: SignedIn, gate_id: str) -> GateCard:
        with _told(), self._store.read() as session:
            person, gate = _person(session, who), gates.find_gate(session, gate_id)
            if not _may_look(session, gate, person):
                raise DeskError(HTTPStatus.FORBIDDEN, f"{who.name} may not look at gate {gate_id!r}")
            return _card(session, gate, person)

    def of_run(self, flow_run_id: str) -> GateCard | None:
        with self._store.read() as session:
            gate = _of_run(session, flow_run_id)
            return None if gate is None else _card(session, gate)

    def decide(self, who: SignedIn, gate_id: str, answer: Answer) -> GateCard:
        with _told(), self._store.write() as session:
            person = _person(session, who)
            decision = gates.decide(
                session,
                gate_id=gate_id,
                digest=answer.digest,
                verdict=answer.verdict,
                person=person,
                reason=answer.reason,
                withheld=answer.withhold,
            )
            return _card(session, session.get_one(Gate, decision.gate_id), person)

    def may_read(self, who: SignedIn, flow_run_id: str) -> bool:
        with self._store.read() as session:
            person, gate = _person(session, who), _of_run(session, flow_run_id)
            return person.role != Role.VIEWER or (gate is not None and _may_look(session, gate, person))

    def woken(self, gate_id: str) -> None:
        with _told(), self._store.write() as session:
            gates.mark_woken(session, gate_id)


def _signed_in(session: Session, person: Person) -> SignedIn:
    tags = None if person.benchmarks is None else frozenset(map(benchmark_tag, person.benchmarks))
    return SignedIn(
        key=f"{_PERSON}{person.id}",
        name=person.label,
        standing=_standing(session, person),
        tags=tags,
    )


def _standing(session: Session, person: Person) -> Standing:
    if person.role != Role.VIEWER:
        return Standing.OPERATOR
    return Standing.DELEGATE if decides_somewhere(session, person) else Standing.VIEWER


def _may_look(session: Session, gate: Gate, person: Person) -> bool:
    """Whether a person may read what a gate shows: a viewer only where they decide in somebody's place."""
    return person.role != Role.VIEWER or decides_for(session, gate, person) is not None


def _person(session: Session, who: SignedIn) -> Person:
    """The person as they are now, not as they were when they signed in."""
    person = session.get(Person, int(who.key.removeprefix(_PERSON))) if who.key.startswith(_PERSON) else None
    if person is None or person.revoked_at is not None:
        raise DeskError(HTTPStatus.FORBIDDEN, f"{who.name} is nobody who decides at this site")
    return person


def _of_run(session: Session, flow_run_id: str) -> Gate | None:
    """The run's latest gate that is not superseded."""
    query = select(Gate).where(Gate.flow_run_id == flow_run_id, Gate.state != GateState.SUPERSEDED)
    return session.exec(query.order_by(col(Gate.opened_at).desc())).first()


def _card(session: Session, gate: Gate, reader: Person | None = None) -> GateCard:
    asked = gates.requested_by(session, gate)
    voter = None if reader is None else decides_for(session, gate, reader)
    return GateCard(
        id=gate.id,
        name=gate.name,
        title=gate.title,
        subject=gate.subject,
        shown=gate.shown,
        digest=gate.digest,
        state="expired" if gates.has_expired(gate) else gate.state.value,
        opened_at=gate.opened_at,
        flow_run_id=gate.flow_run_id,
        open=gate.state in {GateState.OPEN, GateState.WAITING} and not gates.has_expired(gate),
        decided=gates.valid_decision(session, gate.id) is not None,
        quorum=gate.quorum,
        votes=tuple(
            Vote(each.person, each.verdict.value, each.reason, each.decided_at, tuple(each.withheld))
            for each in gates.decisions_of(session, gate.id)
        ),
        expires_at=gate.expires_at,
        requested_by=None if asked is None else asked.label,
        earlier={str(item.get("item")): _sent_before(session, item) for item in gate.shown.get("items", [])},
        barred=None if reader is None else gates.barred(session, gate, reader),
        in_place_of=None if voter is None or reader is None or voter.id == reader.id else voter.label,
    )


def _sent_before(session: Session, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The numbers that left last time for the same model on the same dataset in the same benchmark."""
    score = session.get(Score, int(item["item"])) if "metrics" in item and str(item["item"]).isdigit() else None
    if score is None:
        return {}
    query = select(Score).where(
        Score.benchmark_id == score.benchmark_id,
        Score.model_name == score.model_name,
        Score.dataset_name == score.dataset_name,
        Score.state == ScoreState.SENT,
        Score.id != score.id,
        col(Score.finished_at) <= now(),
    )
    before = session.exec(query.order_by(col(Score.finished_at).desc())).first()
    return {} if before is None else before.metrics


@contextmanager
def _told() -> Iterator[None]:
    """The site's errors as the layer's."""
    try:
        yield
    except AgentError as error:
        raise DeskError(_STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR), str(error)) from None
