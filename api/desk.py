"""The registry's people and gates as the layer in front of its Prefect server knows them (flows.server.protocol).

No rule is written down here a second time: who may do what says the permission matrix, who may decide about what say the
rules of gates, and a decision is the same row in the same transaction as one that comes by `POST /v1/gates/{id}/decisions`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from api import app as _registry  # noqa: F401 - every noun registers what its gates show and whom they concern
from api.access.acting import Act, key
from api.access.belongings import committees_of
from api.access.enforce import require
from api.access.identity import Principal, of_token, sign_in
from api.core.audit import AuditLog
from api.core.database import transaction
from api.core.errors import ApiError, NotSignedInError
from api.nouns.gates import rules
from api.nouns.gates.access import visible, waits_for
from api.nouns.gates.tables import Decision, Gate
from api.nouns.leaderboard.rules import last_release
from api.nouns.people import sign_in as proofs
from api.nouns.people.tables import User
from api.nouns.tokens.rules import OF_PERSON
from api.nouns.tokens.tables import Token
from api.schemas.benchmarks import DecisionCreate, GateKind, GateState
from api.schemas.common import address
from api.schemas.people import Scope
from api.schemas.sign_in import Answer, DeskError, GateCard, SignedIn, Standing, Vote, benchmark_tag, gate_tag

_LIST: Final = ("GET", "/v1/gates")
_READ: Final = ("GET", "/v1/gates/{gate_id}")
_DECIDE: Final = ("POST", "/v1/gates/{gate_id}/decisions")
_TOKEN, _PASSWORD, _PROVIDER = "token", "password", "provider"
_PREFIX: Final = "assay_"
"""Of every token."""
_MOST: Final = 500
"""The newest gates whose runs somebody sees beside those of their benchmarks."""


class RegistryPeople:
    """The people of a registry. A session is good for no longer, and for no more, than what it was opened with."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_password(self, email: str, password: str) -> SignedIn:
        """A personal token does in a password's place: it is their own, or it is nobody's."""
        with _told(), transaction(self._engine, write=False) as session:
            if password.startswith(_PREFIX):
                principal = _person(sign_in(session, password))
                if principal.user is None or principal.user.email != address(email):
                    raise NotSignedInError("nobody is known by this address and token.", "Check both.")
                return _signed_in(session, principal, f"{_TOKEN}:{principal.token_id}")
            user = proofs.by_password(session, email, password)
            return _signed_in(session, _all_of(user), f"{_PASSWORD}:{user.id}:{proofs.fingerprint(user)}")

    def by_token(self, secret: str) -> SignedIn:
        with _told(), transaction(self._engine, write=False) as session:
            principal = _person(sign_in(session, secret))
            return _signed_in(session, principal, f"{_TOKEN}:{principal.token_id}")

    def by_subject(self, issuer: str, subject: str, email: str) -> SignedIn:
        try:
            with transaction(self._engine, write=True) as session:
                user = proofs.by_subject(session, issuer, subject, email)
                return _signed_in(session, _all_of(user), f"{_PROVIDER}:{user.id}")
        except ApiError as error:
            raise DeskError(HTTPStatus.FORBIDDEN, str(error)) from None

    def by_key(self, key: str) -> SignedIn | None:
        with transaction(self._engine, write=False) as session:
            principal = _of_key(session, key)
            return None if principal is None else _signed_in(session, principal, key)


class RegistryGates:
    """The gates of a registry."""

    def __init__(self, engine: Engine, audit: AuditLog) -> None:
        self._engine, self._audit = engine, audit

    def waiting(self, who: SignedIn) -> list[GateCard]:
        """Open gates that concern somebody; those where they can decide now come first."""
        with _told(), transaction(self._engine, write=False) as session:
            principal = _principal(session, who)
            require(session, principal, _LIST, {})
            query = select(Gate).where(visible(principal), Gate.state == GateState.OPEN)
            theirs = waits_for(principal)
            found = session.exec(query.order_by(theirs.desc(), col(Gate.id)).limit(_MOST))
            return [_card(session, gate, principal) for gate in found]

    def get(self, who: SignedIn, gate_id: str) -> GateCard:
        with _told(), transaction(self._engine, write=False) as session:
            principal = _principal(session, who)
            require(session, principal, _READ, {"gate_id": gate_id})
            return _card(session, _found(session, gate_id), principal)

    def of_run(self, flow_run_id: str) -> GateCard | None:
        with transaction(self._engine, write=False) as session:
            gate = _gate_of_run(session, flow_run_id)
            return None if gate is None else _card(session, gate)

    def may_read(self, who: SignedIn, flow_run_id: str) -> bool:
        """Both sides of a gate may; a platform administrator as such may not."""
        with transaction(self._engine, write=False) as session:
            gate, principal = _gate_of_run(session, flow_run_id), _of_key(session, who.key)
            if gate is None or principal is None:
                return False
            try:
                require(session, principal, _READ, {"gate_id": str(gate.id)})
            except ApiError:
                return False
            return True

    def decide(self, who: SignedIn, gate_id: str, answer: Answer) -> GateCard:
        with _told(), transaction(self._engine, write=True) as session:
            principal = _principal(session, who)
            require(session, principal, _DECIDE, {"gate_id": gate_id})
            gate = _found(session, gate_id)
            rules.decide(Act(session, principal, self._audit), key(gate.id), _decision(answer))
            return _card(session, gate, principal)

    def woken(self, gate_id: str) -> None:
        """The review flow concludes the gate; until then the dispatcher looks after it."""


def _person(principal: Principal) -> Principal:
    """Raises NotSignedInError: a machine's token; sites and the registry's own flows have no business here."""
    if principal.user is None:
        raise NotSignedInError(f"the token of {principal.actor} is no person's.", "Use a personal token.")
    return principal


def _of_key(session: Session, key: str) -> Principal | None:
    """Whoever a session belongs to, with what it was opened with; None when that does not hold any more."""
    proof, _, rest = key.partition(":")
    number, _, fingerprint = rest.partition(":")
    if proof == _TOKEN:
        token = session.get(Token, int(number))
        try:
            return None if token is None else _person(of_token(session, token))
        except NotSignedInError:
            return None
    user = session.get(User, int(number)) if proof in {_PASSWORD, _PROVIDER} else None
    if user is None or not user.active:
        return None
    return _all_of(user) if proof == _PROVIDER or fingerprint == proofs.fingerprint(user) else None


def _principal(session: Session, who: SignedIn) -> Principal:
    """The person as they are now, not as they were when they signed in."""
    principal = _of_key(session, who.key)
    if principal is None:
        raise DeskError(HTTPStatus.FORBIDDEN, f"{who.name} is nobody who decides at this registry")
    return principal


def _all_of(user: User) -> Principal:
    return Principal(scopes=OF_PERSON, user=user)


def _signed_in(session: Session, principal: Principal, key: str) -> SignedIn:
    user = principal.user
    assert user is not None  # noqa: S101 - `_person` let nobody else pass
    if user.platform_administrator:
        standing = Standing.ADMINISTRATOR
    else:
        standing = Standing.OPERATOR if Scope.DECIDE in principal.scopes else Standing.VIEWER
    tags = None if user.platform_administrator else _tags(session, principal)
    return SignedIn(key=key, name=user.label, standing=standing, tags=tags)


def _tags(session: Session, principal: Principal) -> frozenset[str]:
    """Runs of benchmarks on whose committee somebody is, and runs at other gates that they are a side of."""
    committees = set(session.scalars(committees_of(principal)))
    gates = select(Gate.id).where(visible(principal), col(Gate.benchmark_id).not_in(committees))
    found = session.scalars(gates.order_by(col(Gate.id).desc()).limit(_MOST))
    return frozenset({*map(benchmark_tag, committees), *(gate_tag(key(number)) for number in found)})


def _found(session: Session, gate_id: str) -> Gate:
    gate = session.get(Gate, int(gate_id)) if gate_id.isdecimal() and len(gate_id) < 10 else None  # noqa: PLR2004
    if gate is None:
        raise DeskError(HTTPStatus.NOT_FOUND, f"there is no gate {gate_id!r}")
    return gate


def _gate_of_run(session: Session, flow_run_id: str) -> Gate | None:
    query = select(Gate).where(Gate.flow_run_id == flow_run_id, Gate.state != GateState.CANCELLED)
    return session.exec(query.order_by(col(Gate.id).desc())).first()


def _decision(answer: Answer) -> DecisionCreate:
    if answer.withhold:
        raise DeskError(HTTPStatus.UNPROCESSABLE_ENTITY, "withhold: a gate of the registry is decided as a whole")
    try:
        return DecisionCreate(digest=answer.digest, verdict=answer.verdict, reason=answer.reason)
    except ValidationError:
        raise DeskError(HTTPStatus.UNPROCESSABLE_ENTITY, "a decision needs a reason: it is kept for ever") from None


def _card(session: Session, gate: Gate, reader: Principal | None = None) -> GateCard:
    decisions = rules.counting(session, gate) or rules.decisions_of(session, gate.id, gate.revision)
    asked = session.get_one(User, gate.requested_by)
    return GateCard(
        id=str(gate.id),
        name=gate.kind.value,
        title=gate.title,
        subject=f"{gate.kind.value} {gate.subject_id}",
        shown=gate.shown,
        digest=gate.digest,
        state=gate.state.value,
        opened_at=gate.created_at,
        flow_run_id=gate.flow_run_id,
        open=gate.state == GateState.OPEN,
        # Whether those who decided still may is looked at by the flow that wakes: it asks again where they may not.
        decided=gate.state == GateState.DECIDED,
        quorum=gate.quorum,
        votes=tuple(map(_vote, decisions)),
        requested_by=asked.label,
        earlier=_released(session, gate),
        barred=None if reader is None else _barred(session, gate, reader),
    )


def _vote(decision: Decision) -> Vote:
    return Vote(decision.user_name, decision.verdict.value, decision.reason, decision.created_at)


def _barred(session: Session, gate: Gate, reader: Principal) -> str | None:
    try:
        require(session, reader, _DECIDE, {"gate_id": str(gate.id)})
        rules.require_may_decide(session, reader, gate)
    except ApiError as error:
        return str(error)
    return None


def _released(session: Session, gate: Gate) -> Mapping[str, Mapping[str, Any]]:
    """The numbers of each model as they were last released, where a release is asked for."""
    last = last_release(session, gate.benchmark_id) if gate.kind == GateKind.LEADERBOARD else None
    rows = [] if last is None else last.leaderboard["rows"]
    return {row["model_name"]: row["metrics"] for row in rows}


@contextmanager
def _told() -> Iterator[None]:
    """The registry's errors as the layer's."""
    try:
        yield
    except ApiError as error:
        raise DeskError(error.status, str(error)) from None
