"""Gates and decisions of a site. A decision counts only for exactly what was shown, by somebody who may decide."""

from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from agents.errors import AgentError, ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from agents.home import GateSettings
from agents.store.delegations import decides_for, may_still_decide
from agents.store.people import require
from agents.store.tables import Decision, Gate, GateEvent, GateState, Job, Person
from api.schemas.benchmarks import Verdict
from api.storage.columns import now
from cubes.digests import digest_of, short, tag_non_finite

_UNDECIDED = (GateState.OPEN, GateState.WAITING)
_ANSWERABLE = (*_UNDECIDED, GateState.DECIDED)


_PLAIN = GateSettings()


def open_gate(
    session: Session,
    *,
    name: str,
    title: str,
    subject: str,
    shown: dict[str, Any],
    flow_run_id: str,
    settings: GateSettings = _PLAIN,
) -> Gate:
    """The gate for exactly this, opened unless it is open already; what the site asks there is fixed when it opens.

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
            note(session, gate.id, "superseded")
    if mine is None:
        mine = Gate(
            name=name,
            title=title,
            subject=subject,
            shown=shown,
            digest=digest,
            flow_run_id=flow_run_id,
            quorum=settings.quorum,
            four_eyes=settings.four_eyes,
            expires_at=None if settings.expires_days is None else now() + timedelta(days=settings.expires_days),
        )
        session.add(mine)
        session.flush()
        note(session, mine.id, "opened", title)
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

    With it the gate is decided, unless more people must approve.

    Raises:
        NotFoundError: no such gate.
        NotPermittedError: the person may not decide here: by their role, or since they asked for it themselves.
        ConflictError: decided already, expired, superseded, or the digest is not that of what the gate shows.
        InvalidInputError: an empty reason, or an item to withhold that the gate does not list.
    """
    gate = find_gate(session, gate_id)
    counts_for = _counts_for(session, gate, person)
    if not reason.strip():
        raise InvalidInputError("a decision needs a reason: it is kept for ever")
    _require_undecided(session, gate, counts_for)
    if gate.digest != digest or digest_of(gate.shown) != gate.digest:
        raise ConflictError(
            f"the decision is for {digest}, but gate {short(gate.id)!r} shows {gate.digest}: look again"
        )
    taken_out = {item for earlier in decisions_of(session, gate.id) for item in earlier.withheld}
    decision = Decision(
        gate_id=gate.id,
        verdict=verdict,
        person_id=person.id or 0,
        counts_for=counts_for.id or 0,
        person=_named(person, counts_for),
        digest=digest,
        reason=reason.strip(),
        withheld=sorted({*_known_items(gate, withheld or []), *taken_out}),
    )
    session.add(decision)
    session.flush()
    if decision_of(session, gate.id) is not None:
        gate.state = GateState.DECIDED
        session.add(gate)
        session.flush()
    return decision


def barred(session: Session, gate: Gate, person: Person) -> str | None:
    """Why a person cannot decide at a gate now; None when they can."""
    try:
        _require_undecided(session, gate, _counts_for(session, gate, person))
    except AgentError as error:
        return str(error)
    return None


def decisions_of(session: Session, gate_id: str) -> list[Decision]:
    """All that was decided at a gate, in order."""
    return list(session.exec(select(Decision).where(Decision.gate_id == gate_id).order_by(col(Decision.id))))


def decision_of(session: Session, gate_id: str) -> Decision | None:
    """The decision that settled the gate: the first rejection, or the approval that made them enough."""
    gate, found = session.get(Gate, gate_id), decisions_of(session, gate_id)
    rejection = next((decision for decision in found if decision.verdict == Verdict.REJECT), None)
    if gate is None or rejection is not None:
        return rejection
    return found[gate.quorum - 1] if len(found) >= gate.quorum else None


def valid_decision(session: Session, gate_id: str) -> Decision | None:
    """The decision that settled the gate, checked again: it still shows that, and all who decided may (still) decide."""
    gate, decision = session.get(Gate, gate_id), decision_of(session, gate_id)
    if gate is None or decision is None or gate.state not in _ANSWERABLE:
        return None
    counting = [decision] if decision.verdict == Verdict.REJECT else decisions_of(session, gate_id)[: gate.quorum]
    shown = digest_of(gate.shown)
    fits = all(each.digest == gate.digest == shown for each in counting)
    return decision if fits and all(may_still_decide(session, gate, each) for each in counting) else None


def requested_by(session: Session, gate: Gate) -> Person | None:
    """Who asked for the work that came to this gate; None where the agent did by itself."""
    job = session.exec(select(Job).where(Job.flow_run_id == gate.flow_run_id)).first()
    return None if job is None or job.requested_by is None else session.get(Person, job.requested_by)


def renew(session: Session, gate_id: str, person: Person, *, days: float) -> Gate:
    """Let a question stand for longer.

    Raises:
        NotPermittedError: the person may not start work here.
        ConflictError: nobody waits for an answer any more.
    """
    require(person, "start")
    gate = find_gate(session, gate_id)
    _require_in_time(gate)
    if gate.state not in _UNDECIDED:
        raise ConflictError(f"gate {short(gate.id)!r} is {gate.state.value}: there is nothing to renew")
    gate.expires_at = now() + timedelta(days=days)
    session.add(gate)
    note(session, gate.id, "renewed", f"by {person.label}, for {days:g} days")
    return gate


def note(session: Session, gate_id: str, kind: str, detail: str = "") -> None:
    """Keep what happened around a gate; for ever."""
    session.add(GateEvent(gate_id=gate_id, kind=kind, detail=detail[:500]))


def events_of(session: Session, gate_id: str) -> list[GateEvent]:
    return list(session.exec(select(GateEvent).where(GateEvent.gate_id == gate_id).order_by(col(GateEvent.id))))


def has_expired(gate: Gate) -> bool:
    in_time = gate.expires_at is None or gate.expires_at > now()
    return gate.state == GateState.EXPIRED or (gate.state in _UNDECIDED and not in_time)


def expire(session: Session) -> list[Gate]:
    """Close the questions that nobody answered in time; those that were closed now."""
    query = select(Gate).where(col(Gate.state).in_(_UNDECIDED), col(Gate.expires_at) <= now())
    found = list(session.exec(query))
    for gate in found:
        gate.state = GateState.EXPIRED
        session.add(gate)
        note(session, gate.id, "expired", gate.title)
    session.flush()
    return found


def remind(session: Session, settings: dict[str, GateSettings]) -> list[GateEvent]:
    """Remind of what waits, where the site asks for that.

    Returns:
        The new events, for whoever tells people.
    """
    new: list[GateEvent] = []
    for gate in list_gates(session):
        events = events_of(session, gate.id)
        last = max((event.at for event in events if event.kind in {"reminded", "renewed"}), default=gate.opened_at)
        every = settings.get(gate.name, _PLAIN).remind_days
        if every is not None and not has_expired(gate) and now() - last >= timedelta(days=every):
            new.append(GateEvent(gate_id=gate.id, kind="reminded", detail=gate.title))
    session.add_all(new)
    session.flush()
    return new


def gate_of_run(session: Session, flow_run_id: str | None) -> Gate | None:
    """The gate at which a flow run waits for a person, if it does."""
    query = select(Gate).where(Gate.flow_run_id == flow_run_id, col(Gate.state).in_(_UNDECIDED))
    return None if flow_run_id is None else session.exec(query.order_by(col(Gate.opened_at).desc())).first()


def rests(session: Session, flow_run_id: str | None) -> bool:
    """Whether nothing of a flow run runs, since it waits for a person."""
    gate = gate_of_run(session, flow_run_id)
    return gate is not None and gate.state == GateState.WAITING


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


def _counts_for(session: Session, gate: Gate, person: Person) -> Person:
    """Whose vote a person's decision is at a gate.

    Raises:
        NotPermittedError: nobody's.
    """
    voter = decides_for(session, gate, person)
    if voter is None:
        require(person, "decide")
        raise NotPermittedError(f"{person.email!r} may not decide at gate {short(gate.id)!r}")
    asked = requested_by(session, gate) if gate.four_eyes else None
    if asked is not None and asked.id in {person.id, voter.id}:
        raise NotPermittedError(
            f"{asked.email!r} asked for this: at gate {short(gate.id)!r} somebody else decides (four eyes)"
        )
    return voter


def _require_undecided(session: Session, gate: Gate, voter: Person) -> None:
    name = short(gate.id)
    if gate.state == GateState.SUPERSEDED:
        raise ConflictError(f"gate {name!r} was superseded: what it showed is no longer so. See `assay gate list`")
    if decision_of(session, gate.id) is not None:
        raise ConflictError(f"gate {name!r} is decided already; decisions do not change")
    if any(decision.counts_for == voter.id for decision in decisions_of(session, gate.id)):
        raise ConflictError(f"{voter.email!r} has decided at gate {name!r} already; it waits for somebody else")
    _require_in_time(gate)


def _require_in_time(gate: Gate) -> None:
    if has_expired(gate):
        raise ConflictError(
            f"the question of gate {short(gate.id)!r} expired on {gate.expires_at:%Y-%m-%d %H:%M} UTC, and what waited for"
            " it has ended: ask for it again"
        )


def _named(person: Person, voter: Person) -> str:
    return person.label if person.id == voter.id else f"{person.label} for {voter.label}"
