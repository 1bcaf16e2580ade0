"""Gates and decisions of a site. A decision counts only for exactly what was shown, by somebody who may decide."""

from typing import Any

from sqlmodel import Session, col, select

from agents.errors import ConflictError, InvalidInputError, NotFoundError
from agents.store.people import require
from agents.store.tables import Decision, Gate, GateState, Person, Role
from api.schemas.benchmarks import Verdict
from api.storage.columns import now
from cubes.digests import digest_of, short, tag_non_finite

_UNDECIDED = (GateState.OPEN, GateState.WAITING)
_ANSWERABLE = (*_UNDECIDED, GateState.DECIDED)


def open_gate(
    session: Session, *, name: str, title: str, subject: str, shown: dict[str, Any], flow_run_id: str
) -> Gate:
    """The gate for exactly this, opened unless it is open already.

    An older gate of the same name and flow run that shows something else is superseded: nobody can decide it any more.
    """
    shown = tag_non_finite(shown)
    digest = digest_of(shown)
    mine = None
    for gate in session.exec(select(Gate).where(Gate.flow_run_id == flow_run_id, Gate.name == name)):
        if gate.digest == digest:
            mine = gate
        elif gate.state != GateState.SUPERSEDED:
            gate.state = GateState.SUPERSEDED
            session.add(gate)
    if mine is None:
        mine = Gate(name=name, title=title, subject=subject, shown=shown, digest=digest, flow_run_id=flow_run_id)
    elif mine.state == GateState.SUPERSEDED:
        mine.state = GateState.DECIDED if decision_of(session, mine.id) else GateState.OPEN
    session.add(mine)
    session.flush()
    return mine


def mark_waiting(session: Session, gate_id: str) -> None:
    """The gate's flow run has come to rest: from now on a decision may wake it."""
    gate = find_gate(session, gate_id)
    if gate.state in _UNDECIDED:
        gate.state = GateState.WAITING
    gate.woken_at = None
    session.add(gate)


def find_gate(session: Session, reference: str) -> Gate:
    """A gate by its identifier or an unambiguous beginning of at least four characters.

    Raises:
        NotFoundError: no such gate, or several begin like this.
    """
    exact = session.get(Gate, reference)
    if exact is not None:
        return exact
    found: list[Gate] = []
    if len(reference) >= 4:  # noqa: PLR2004 - shorter is a typo, not a reference
        found = list(session.exec(select(Gate).where(col(Gate.id).startswith(reference, autoescape=True)).limit(2)))
    if len(found) != 1:
        problem = "several gates begin with" if found else "there is no gate"
        raise NotFoundError(f"{problem} {reference!r}: see `assay gate list`")
    return found[0]


def list_gates(session: Session, *, undecided: bool = True) -> list[Gate]:
    query = select(Gate).order_by(col(Gate.opened_at))
    if undecided:
        query = query.where(col(Gate.state).in_(_UNDECIDED))
    return list(session.exec(query))


def decide(
    session: Session,
    *,
    gate_id: str,
    digest: str,
    verdict: Verdict,
    person: Person,
    reason: str,
    withheld: list[str] | None = None,
) -> Decision:
    """Write a decision. Nothing else in the product can.

    Raises:
        NotFoundError: no such gate.
        NotPermittedError: the person's role may not decide.
        ConflictError: decided already, superseded, or the digest is not that of what the gate shows.
        InvalidInputError: an empty reason, or an item to withhold that the gate does not list.
    """
    require(person, "decide")
    gate = find_gate(session, gate_id)
    if not reason.strip():
        raise InvalidInputError("a decision needs a reason: it is kept for ever")
    if gate.state == GateState.SUPERSEDED:
        raise ConflictError(
            f"gate {short(gate.id)!r} was superseded: what it showed is no longer so. See `assay gate list`"
        )
    if decision_of(session, gate.id) is not None:
        raise ConflictError(f"gate {short(gate.id)!r} is decided already; decisions do not change")
    if gate.digest != digest or digest_of(gate.shown) != gate.digest:
        raise ConflictError(
            f"the decision is for {digest}, but gate {short(gate.id)!r} shows {gate.digest}: look again"
        )
    decision = Decision(
        gate_id=gate.id,
        verdict=verdict,
        person_id=person.id or 0,
        person=f"{person.name} <{person.email}>",
        digest=digest,
        reason=reason.strip(),
        withheld=_known_items(gate, withheld or []),
    )
    gate.state = GateState.DECIDED
    session.add_all([decision, gate])
    session.flush()
    return decision


def decision_of(session: Session, gate_id: str) -> Decision | None:
    return session.exec(select(Decision).where(Decision.gate_id == gate_id)).first()


def valid_decision(session: Session, gate_id: str) -> Decision | None:
    """The decision, checked again: the gate still shows what was decided and the person may (still) decide."""
    gate, decision = session.get(Gate, gate_id), decision_of(session, gate_id)
    if gate is None or decision is None or gate.state not in _ANSWERABLE:
        return None
    person = session.get(Person, decision.person_id)
    fits = decision.digest == gate.digest == digest_of(gate.shown)
    return decision if fits and person is not None and person.role == Role.DATA_OWNER else None


def gate_of_run(session: Session, flow_run_id: str | None) -> Gate | None:
    """The gate at which a flow run waits for a person, if it does."""
    query = select(Gate).where(Gate.flow_run_id == flow_run_id, col(Gate.state).in_(_UNDECIDED))
    return None if flow_run_id is None else session.exec(query.order_by(col(Gate.opened_at).desc())).first()


def to_wake(session: Session) -> list[Gate]:
    """Gates that are decided and whose flow run has not been woken since."""
    query = select(Gate).where(Gate.state == GateState.DECIDED, col(Gate.woken_at).is_(None))
    return list(session.exec(query))


def mark_woken(session: Session, gate_id: str) -> None:
    gate = find_gate(session, gate_id)
    gate.woken_at = now()
    session.add(gate)


def close_gates_of(session: Session, flow_run_id: str) -> None:
    """A flow run has ended: what it still asked, nobody needs to answer."""
    query = select(Gate).where(Gate.flow_run_id == flow_run_id, col(Gate.state).in_(_UNDECIDED))
    for gate in session.exec(query):
        gate.state = GateState.SUPERSEDED
        session.add(gate)


def _known_items(gate: Gate, withheld: list[str]) -> list[str]:
    known = {str(item.get("item")) for item in gate.shown.get("items", [])}
    unknown = sorted(set(withheld) - known)
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise InvalidInputError(f"this gate has no item {unknown[0]!r}; its items are: {listed}")
    return sorted(set(withheld))
