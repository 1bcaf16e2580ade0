"""The gate of an association: the committee sees who wants to come in, or an owner sees what they are invited to."""

from typing import Any

from sqlmodel import Session

from api.access.acting import Act, key
from api.nouns.associations import admission, rules
from api.nouns.associations.states import Action
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.gates.cards import cube_card, dataset_card, label, model_card
from api.nouns.gates.kinds import KINDS, Kind, Outcome
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import GateKind, Verdict

_BENCHMARK = {"id", "name", "title", "clinical_setting", "task", "inclusion_criteria", "metrics", "primary_metric"} | {
    "minimum_cases",
    "model_owner_consent",
    "demo_dataset_digest",
}


def _show(session: Session, gate: Gate) -> dict[str, Any]:
    association = session.get_one(Association, gate.subject_id)
    benchmark = session.get_one(Benchmark, association.benchmark_id)
    shown: dict[str, Any] = {
        "benchmark": {
            **benchmark.model_dump(mode="json", include=_BENCHMARK),
            "preparator": cube_card(session, benchmark.preparator_cube_id),
            "metrics_cube": cube_card(session, benchmark.metrics_cube_id),
        },
        "invited": association.invited,
        "requested_by": label(session, association.requested_by),
        "note": association.note,
    }
    if association.dataset_id is not None:
        # The committee invites without having seen the statistics: it may see them when the owner has agreed.
        return {**shown, "dataset": dataset_card(session, association.dataset_id, statistics=not association.invited)}
    model = model_card(session, key(association.model_id))
    return {**shown, "model": model, "compatibility": association.compatibility}


def _check(session: Session, gate: Gate) -> None:
    admission.check(session, session.get_one(Association, gate.subject_id))


def _conclude(act: Act, gate: Gate, outcome: Outcome) -> None:
    association = act.session.get_one(Association, gate.subject_id)
    action = Action.APPROVE if outcome.verdict == Verdict.APPROVE else Action.REJECT
    subject = rules.subject_of(association)
    rules.step(association, action, rules.named(act.session, association.kind, subject))
    rules.change(act, association, by=outcome.by, reason=outcome.reason)


KINDS[GateKind.ASSOCIATION] = Kind(_show, _check, _conclude)
