"""Associations: one side asks, the other decides; every change is a row of its history."""

from typing import Any

from sqlmodel import Session, col, select

from api.access.acting import Act, key
from api.core.errors import ConflictError, InvalidInputError, NotPermittedError
from api.core.rows import add, find, lock
from api.nouns.associations import admission
from api.nouns.associations.access import is_owner
from api.nouns.associations.states import MACHINE, Action
from api.nouns.associations.tables import Association, Change
from api.nouns.benchmarks.access import find_visible, is_on_committee
from api.nouns.benchmarks.states import Action as BenchmarkAction
from api.nouns.benchmarks.states import step as benchmark_step
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.datasets.tables import Dataset
from api.nouns.gates import rules as gates
from api.nouns.models.tables import Model
from api.nouns.people.tables import User
from api.schemas.benchmarks import (
    AssociationCreate,
    AssociationKind,
    AssociationPolicy,
    AssociationPublic,
    AssociationState,
    AutoApproval,
    Compatibility,
    GateKind,
)
from api.storage.columns import now


def request(act: Act, new: AssociationCreate) -> Association:
    """Ask for a place in a benchmark (an owner), or invite to it (the committee).

    Raises:
        NotFoundError: no such benchmark.
        InvalidInputError: no such model or dataset, or a compatibility report for a dataset.
        NotPermittedError: neither the owner nor on the committee.
        ConflictError: asked already, or it does not fit the benchmark.
    """
    find_visible(act.session, act.principal, new.benchmark_id)
    benchmark = lock(act.session, Benchmark, new.benchmark_id)
    benchmark_step(benchmark, BenchmarkAction.ASSOCIATE)
    association = _row(act.session, new)
    association.invited = not _asks_as_owner(act, association)
    step(association, Action.REQUEST, named(act.session, new.kind, new.subject_id))
    association.requested_by, association.note = act.user_id, new.note
    association.compatibility = None if new.compatibility is None else new.compatibility.model_dump(mode="json")
    association.priority, association.consented_at = 0, None
    if not (association.invited and association.kind == AssociationKind.MODEL and new.compatibility is None):
        # The owner of an invited model brings the report before they accept.
        admission.check(act.session, association)
    add(act.session, association, ConflictError("this was asked for at the same moment.", "See the one that is there."))
    change(act, association, by=act.user_id, reason=new.note or ("invited" if association.invited else "asked"))
    _open_gate(act, benchmark, association)
    return association


def withdraw(act: Act, association_id: int, reason: str) -> Association:
    """Take a model or a dataset out, by either side; what was measured stays with those who may see it."""
    association = locked(act, association_id)
    _withdraw(act, association, reason)
    return association


def end_requests(act: Act, benchmark_id: int, *, reason: str, kind: AssociationKind | None = None) -> None:
    """Withdraw what is asked for and cannot be decided any more."""
    query = select(Association).where(
        Association.benchmark_id == benchmark_id, Association.state == AssociationState.REQUESTED
    )
    if kind is not None:
        query = query.where(Association.kind == kind)
    for association in act.session.exec(query.order_by(col(Association.id))).all():
        _withdraw(act, association, reason)


def attach_compatibility(act: Act, association_id: int, report: Compatibility) -> Association:
    """Bring the compatibility report of an invited model.

    Raises:
        ConflictError: not asked for any more, not an invited model, or about something else.
    """
    association = locked(act, association_id)
    what = named(act.session, association.kind, subject_of(association))
    step(association, Action.ATTACH_COMPATIBILITY, what)
    if association.model_id is None or not association.invited:
        raise ConflictError(
            f"{what} was not invited.", "The report of a model that asks itself comes with the request."
        )
    benchmark = act.session.get_one(Benchmark, association.benchmark_id)
    admission.check_report(act.session, benchmark, act.session.get_one(Model, association.model_id), report)
    association.compatibility = report.model_dump(mode="json")
    act.session.add(association)
    act.note("association.compatibility_attached", f"association:{association.id}", report=association.compatibility)
    gate = gates.live_gate(act.session, GateKind.ASSOCIATION, key(association.id))
    if gate is not None:
        gates.refresh(act, key(gate.id))
    return association


def set_priority(act: Act, association_id: int, priority: int) -> Association:
    """Say how early a model runs: higher first, at every site."""
    association = locked(act, association_id)
    step(association, Action.SET_PRIORITY, named(act.session, association.kind, subject_of(association)))
    before, association.priority = association.priority, priority
    act.session.add(association)
    act.note("association.priority_set", f"association:{association.id}", before=before, after=priority)
    return association


def set_consent(act: Act, association_id: int, *, given: bool) -> Association:
    """Let others see a model's released results, or no longer.

    Raises:
        ConflictError: it is a dataset, or was rejected.
    """
    association = locked(act, association_id)
    what = named(act.session, association.kind, subject_of(association))
    step(association, Action.CONSENT, what)
    if association.model_id is None:
        raise ConflictError(
            f"{what} needs no consent.", "The owners of models consent; data owners decided at their site."
        )
    association.consented_at = now() if given else None
    act.session.add(association)
    act.note(f"association.consent_{'given' if given else 'revoked'}", f"association:{association.id}")
    return association


def change(act: Act, association: Association, *, by: int | None, reason: str) -> None:
    """Write a row of an association's history."""
    act.session.add(association)
    act.session.flush()
    act.session.add(Change(association_id=key(association.id), state=association.state, by=by, reason=reason))
    act.note(
        f"association.{association.state.value}",
        f"association:{association.id}",
        benchmark_id=association.benchmark_id,
        of=f"{association.kind.value}:{subject_of(association)}",
        by=by,
        reason=reason,
    )


def step(association: Association, action: Action, what: str) -> None:
    """Do to an association's state what an action does.

    Raises:
        ConflictError: the action is not legal now.
    """
    association.state = MACHINE.next(None if association.id is None else association.state, action, what)


def locked(act: Act, association_id: int) -> Association:
    """An association as it is now; everything about one benchmark happens one after the other."""
    lock(act.session, Benchmark, find(act.session, Association, association_id).benchmark_id)
    return lock(act.session, Association, association_id)


def subject_of(association: Association) -> int:
    return association.model_id or association.dataset_id or 0


def named(session: Session, kind: AssociationKind, subject_id: int) -> str:
    return f"{kind.value} {_subject(session, kind, subject_id).name!r}"


def public(session: Session, association: Association) -> AssociationPublic:
    subject_id = subject_of(association)
    return AssociationPublic(
        **association.model_dump(exclude={"model_id", "dataset_id"}),
        subject_id=subject_id,
        subject_name=_subject(session, association.kind, subject_id).name,
    )


def _row(session: Session, new: AssociationCreate) -> Association:
    """The association of this pair, which may have been before, or a new one."""
    if session.get(Model if new.kind == AssociationKind.MODEL else Dataset, new.subject_id) is None:
        raise InvalidInputError(f"there is no {new.kind.value} {new.subject_id!r}.", "Register it first.")
    if new.kind == AssociationKind.DATASET and new.compatibility is not None:
        raise InvalidInputError(
            "a dataset has no compatibility report.", "Leave it out: its sanity check stands for it."
        )
    pair: dict[str, Any] = {"benchmark_id": new.benchmark_id, f"{new.kind.value}_id": new.subject_id}
    known = session.exec(select(Association).filter_by(**pair)).first()
    if known is not None:
        return lock(session, Association, key(known.id))
    return Association(**pair, kind=new.kind, requested_by=0, state=AssociationState.REQUESTED)


def _subject(session: Session, kind: AssociationKind, subject_id: int) -> Model | Dataset:
    return session.get_one(Model, subject_id) if kind == AssociationKind.MODEL else session.get_one(Dataset, subject_id)


def _asks_as_owner(act: Act, association: Association) -> bool:
    """Whose side asks. Whoever is on both asks as the owner: then others of the committee decide."""
    if is_owner(act.session, act.principal, association):
        return True
    if is_on_committee(act.session, act.principal, association.benchmark_id):
        return False
    raise NotPermittedError(
        f"{act.principal.actor!r} may not ask for this.",
        f"The owner of the {association.kind.value} asks, or the benchmark's committee invites.",
    )


def _open_gate(act: Act, benchmark: Benchmark, association: Association) -> None:
    is_model = association.kind == AssociationKind.MODEL
    policy = AssociationPolicy.model_validate(benchmark.model_policy if is_model else benchmark.dataset_policy)
    what = named(act.session, association.kind, subject_of(association)).replace("'", "")
    side = "Accept the invitation of" if association.invited else "Approve"
    gate = gates.open_gate(
        act,
        GateKind.ASSOCIATION,
        key(association.id),
        benchmark,
        title=f"{side} {what} for the benchmark {benchmark.name}?",
        quorum=1 if association.invited else policy.quorum,
    )
    if not association.invited and _lets_in(policy, act.user):
        name = f"policy of {benchmark.name}: {policy.auto_approval.value.replace('_', ' ')}"
        gates.approve_by_policy(act, gate, policy=name, reason=f"the benchmark lets {act.user.email} in")


def _lets_in(policy: AssociationPolicy, user: User) -> bool:
    if policy.auto_approval == AutoApproval.ALLOW_LIST:
        return user.email in policy.allow_list
    return policy.auto_approval == AutoApproval.ALWAYS


def _withdraw(act: Act, association: Association, reason: str) -> None:
    step(association, Action.WITHDRAW, named(act.session, association.kind, subject_of(association)))
    change(act, association, by=act.user_id, reason=reason)
    gate = gates.live_gate(act.session, GateKind.ASSOCIATION, key(association.id))
    if gate is not None:
        gates.cancel(act, gate, reason)
