"""Gates: opened by what people ask for, decided by others, concluded by the registry's review flow.

A decision counts for exactly what was shown, by somebody who may still decide. Everything is checked again at the end,
in the transaction that moves the subject; whatever does not fit any more keeps the gate shut.
"""

from typing import Any, Final

from sqlmodel import Session, col, select

from api.access.acting import Act, key
from api.access.identity import Principal
from api.core.errors import ConflictError, NotPermittedError
from api.core.rows import find, lock
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.gates.access import may_decide
from api.nouns.gates.kinds import KINDS, Outcome
from api.nouns.gates.states import LIVE, MACHINE, Action, named, step
from api.nouns.gates.tables import Decision, Gate
from api.nouns.people.tables import User
from api.schemas.benchmarks import DecisionCreate, DecisionPublic, GateKind, GatePublic, GateState, Verdict
from cubes.digests import digest_of, short, tag_non_finite

_AGAIN: Final = "Refresh it, and have it decided again."


def open_gate(act: Act, kind: GateKind, subject_id: int, benchmark: Benchmark, *, title: str, quorum: int) -> Gate:
    """A new gate about a subject, which shows what is there now.

    Raises:
        ConflictError: there is one already that is not concluded.
    """
    if (live := live_gate(act.session, kind, subject_id)) is not None:
        raise ConflictError(f"gate {live.id} ({live.title}) is not concluded yet.", "Decide there first.")
    gate = Gate(
        kind=kind,
        subject_id=subject_id,
        benchmark_id=key(benchmark.id),
        title=title,
        shown={},
        digest="",
        requested_by=act.user_id,
        quorum=quorum,
    )
    gate.shown = shown_now(act.session, gate)
    gate.digest = digest_of(gate.shown)
    act.session.add(gate)
    act.session.flush()
    _note(act, "opened", gate)
    return gate


def decide(act: Act, gate_id: int, new: DecisionCreate) -> Decision:
    """Write one person's decision.

    Raises:
        NotPermittedError: not their role, or they asked for it themselves.
        ConflictError: decided already, by them or by enough; or the digest is not of what is shown, which is kept up to
            date then: the person looks again.
    """
    gate = _locked(act.session, gate_id)
    user = act.user
    require_may_decide(act.session, act.principal, gate)
    if not _is_up_to_date(act.session, gate):
        _show_again(act, gate)
        # Kept although this decision is refused: else nobody could ever see what is there now.
        act.session.commit()
        raise _for_something_else(gate, new.digest)
    if new.digest != gate.digest:
        raise _for_something_else(gate, new.digest)
    if new.verdict == Verdict.APPROVE:
        KINDS[gate.kind].check(act.session, gate)
    return _write(act, gate, user, new)


def require_may_decide(session: Session, principal: Principal, gate: Gate) -> None:
    """Let a person pass who may decide at a gate now, whatever they would say.

    Raises:
        NotPermittedError, ConflictError: as `decide`.
    """
    user = principal.user
    if user is None:
        raise NotPermittedError("this is for people.", "Use a personal token.")
    if gate.requested_by == user.id:
        raise NotPermittedError(f"{user.email!r} asked for this: nobody decides about their own.", "Ask another one.")
    if not may_decide(session, principal, gate):
        raise NotPermittedError(f"{user.email!r} may not decide at gate {gate.id}.", "It takes the other side.")
    MACHINE.next(gate.state, Action.DECIDE, named(gate))
    _once(session, gate, user)


def approve_by_policy(act: Act, gate: Gate, *, policy: str, reason: str) -> None:
    """Decide and conclude at once, where the benchmark's own policy lets somebody in."""
    decision = Decision(
        gate_id=key(gate.id),
        revision=gate.revision,
        user_name=policy,
        digest=gate.digest,
        verdict=Verdict.APPROVE,
        reason=reason,
    )
    act.session.add(decision)
    step(gate, Action.SETTLE)
    _finish(act, gate, Outcome(Verdict.APPROVE, None, reason))


def refresh(act: Act, gate_id: int) -> Gate:
    """Compute what the gate shows again, and open it when that is something else or its decisions no longer hold."""
    gate = _locked(act.session, gate_id)
    if gate.state not in LIVE:
        return gate
    if not _is_up_to_date(act.session, gate):
        _show_again(act, gate)
    elif gate.state == GateState.DECIDED and standing(act.session, gate) is None:
        _reopen(act, gate)
    return gate


def conclude(act: Act, gate_id: int) -> Gate:
    """Check everything again, and move the subject. What is concluded already stays so.

    Raises:
        ConflictError: not decided, decided about something else, or it can no longer be approved. Nothing has moved.
    """
    gate = _locked(act.session, gate_id)
    if gate.state == GateState.CONCLUDED:
        return gate
    MACHINE.next(gate.state, Action.CONCLUDE, named(gate))
    if not _is_up_to_date(act.session, gate):
        raise ConflictError(f"gate {gate_id} was decided for something else than what it would show now.", _AGAIN)
    outcome = standing(act.session, gate)
    if outcome is None or outcome.verdict != gate.verdict:
        raise ConflictError(f"gate {gate_id} has no decision that holds: those who decided may no longer.", _AGAIN)
    _finish(act, gate, outcome)
    return gate


def cancel(act: Act, gate: Gate, reason: str) -> None:
    """End a gate that nobody needs to decide any more."""
    step(gate, Action.CANCEL)
    act.session.add(gate)
    _note(act, "cancelled", gate, reason=reason)


def live_gate(session: Session, kind: GateKind, subject_id: int) -> Gate | None:
    """The gate about a subject that is not concluded yet."""
    query = select(Gate).where(Gate.kind == kind, Gate.subject_id == subject_id, col(Gate.state).in_(LIVE))
    return session.exec(query).first()


def shown_now(session: Session, gate: Gate) -> dict[str, Any]:
    """What a gate would show now, as plain JSON."""
    shown: dict[str, Any] = tag_non_finite(KINDS[gate.kind].show(session, gate))
    return {**shown, "quorum": gate.quorum}


def standing(session: Session, gate: Gate) -> Outcome | None:
    """How a gate stands by the decisions that count; None while there are too few."""
    found = counting(session, gate)
    for decision in found:
        if decision.verdict == Verdict.REJECT:
            return Outcome(Verdict.REJECT, decision.user_id, decision.reason)
    if len(found) < gate.quorum:
        return None
    return Outcome(Verdict.APPROVE, found[-1].user_id, found[-1].reason)


def set_flow_run(act: Act, gate_id: int, flow_run_id: str) -> Gate:
    """Remember which flow run waits at a gate."""
    gate = _locked(act.session, gate_id)
    if gate.flow_run_id != flow_run_id:
        gate.flow_run_id = flow_run_id
        act.session.add(gate)
        _note(act, "waited_at", gate, flow_run_id=flow_run_id)
    return gate


def public(session: Session, gate: Gate) -> GatePublic:
    found = counting(session, gate) if gate.state in LIVE else decisions_of(session, gate.id, gate.revision)
    approvals = sum(decision.verdict == Verdict.APPROVE for decision in found)
    return GatePublic(**gate.model_dump(), approvals=approvals)


def public_decision(decision: Decision) -> DecisionPublic:
    return DecisionPublic.model_validate(decision.model_dump())


def counting(session: Session, gate: Gate) -> list[Decision]:
    """Decisions about what is shown, by people who may (still) decide."""
    found = decisions_of(session, gate.id, gate.revision)
    return [d for d in found if d.digest == gate.digest and _may_still(session, gate, d.user_id)]


def decisions_of(session: Session, gate_id: int | None, revision: int) -> list[Decision]:
    query = select(Decision).where(Decision.gate_id == gate_id, Decision.revision == revision)
    return list(session.exec(query.order_by(col(Decision.id))))


def _locked(session: Session, gate_id: int) -> Gate:
    """A gate as it is now; everything about one benchmark happens one after the other."""
    lock(session, Benchmark, find(session, Gate, gate_id).benchmark_id)
    return lock(session, Gate, gate_id)


def _is_up_to_date(session: Session, gate: Gate) -> bool:
    return digest_of(shown_now(session, gate)) == gate.digest == digest_of(gate.shown)


def _for_something_else(gate: Gate, digest: str) -> ConflictError:
    return ConflictError(
        f"the decision is for {short(digest)!r}, but gate {gate.id} shows {short(gate.digest)!r}.",
        "It changed, or it is another one: look at the gate again, then decide about what it shows now.",
    )


def _once(session: Session, gate: Gate, user: User) -> None:
    if any(decision.user_id == user.id for decision in decisions_of(session, gate.id, gate.revision)):
        raise ConflictError(
            f"{user.email!r} has decided at gate {gate.id} already; decisions do not change.", "Others decide now."
        )


def _write(act: Act, gate: Gate, user: User, new: DecisionCreate) -> Decision:
    decision = Decision(
        gate_id=key(gate.id),
        revision=gate.revision,
        user_id=user.id,
        user_name=user.label,
        digest=new.digest,
        verdict=new.verdict,
        reason=new.reason,
    )
    act.session.add(decision)
    act.session.flush()
    outcome = standing(act.session, gate)
    if outcome is not None:
        step(gate, Action.SETTLE)
        gate.verdict = outcome.verdict
        act.session.add(gate)
    _note(act, "decided", gate, verdict=new.verdict.value, reason=new.reason, revision=gate.revision)
    return decision


def _may_still(session: Session, gate: Gate, user_id: int | None) -> bool:
    user = None if user_id is None else session.get(User, user_id)
    person = Principal(scopes=frozenset(), user=user)
    return user is not None and user.active and may_decide(session, person, gate)


def _show_again(act: Act, gate: Gate) -> None:
    before = gate.digest
    gate.shown = shown_now(act.session, gate)
    gate.digest, gate.revision = digest_of(gate.shown), gate.revision + 1
    _reopen(act, gate, before=before)


def _reopen(act: Act, gate: Gate, **detail: Any) -> None:
    step(gate, Action.REOPEN)
    gate.verdict = None
    act.session.add(gate)
    _note(act, "reopened", gate, revision=gate.revision, **detail)


def _finish(act: Act, gate: Gate, outcome: Outcome) -> None:
    kind = KINDS[gate.kind]
    if outcome.verdict == Verdict.APPROVE:
        kind.check(act.session, gate)
    step(gate, Action.CONCLUDE)
    gate.verdict = outcome.verdict
    act.session.add(gate)
    _note(act, "concluded", gate, verdict=outcome.verdict.value, reason=outcome.reason, by=outcome.by)
    kind.conclude(act, gate, outcome)


def _note(act: Act, what: str, gate: Gate, **detail: Any) -> None:
    subject = f"{gate.kind.value}:{gate.subject_id}"
    act.note(f"gate.{what}", f"gate:{gate.id}", about=subject, digest=gate.digest, **detail)
