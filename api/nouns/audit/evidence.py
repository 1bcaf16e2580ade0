"""Rows held against the audit log: what was changed past its triggers no longer says what its entry says.

The chain proves the entries. Results and releases are rows of their own, which leaderboards and pages are made of.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from sqlalchemy import String, exists, literal
from sqlmodel import Session, cast, col, select

from api.core.audit import AuditRow
from api.nouns.datasets.tables import Dataset
from api.nouns.gates.tables import Gate
from api.nouns.leaderboard.tables import Release, ReleaseResult
from api.nouns.models.tables import Model
from api.nouns.results.tables import Result
from cubes.digests import digest_of

_PAGE: Final = 500
_MOST: Final = 100
"""Findings that are told: whoever has so many needs no more of them."""


def changed_rows(session: Session) -> list[str]:
    """The rows that contradict their entries, named, each with what differs."""
    return list(islice(_all(session), _MOST))


def _all(session: Session) -> Iterator[str]:
    yield from _changed_results(session)
    yield from _results_that_nobody_sent(session)
    yield from _changed_releases(session)


def _changed_results(session: Session) -> Iterator[str]:
    for entries in _pages(session, "result.received"):
        rows = _results(session, [_number(entry.subject) for entry in entries])
        for entry in entries:
            if entry.subject not in rows:
                yield f"{entry.subject} is gone"
            else:
                # Entries did not always tell all of a result.
                yield from _finding(entry.subject, _differences(rows[entry.subject], entry.detail))


def _results(session: Session, numbers: list[int]) -> dict[str, dict[str, Any]]:
    """Results by subject, each with everything that an entry may tell of it."""
    query = (
        select(Result, Model.name, Dataset.name)
        .join(Model, col(Model.id) == col(Result.model_id))
        .join(Dataset, col(Dataset.id) == col(Result.dataset_id))
        .where(col(Result.id).in_(numbers))
    )
    return {
        f"result:{result.id}": {**result.model_dump(mode="json"), "model": model, "dataset": dataset}
        for result, model, dataset in session.exec(query)
    }


def _results_that_nobody_sent(session: Session) -> Iterator[str]:
    entry = exists().where(
        col(AuditRow.action) == "result.received",
        col(AuditRow.subject) == literal("result:") + cast(Result.id, String),
    )
    for number in session.exec(select(Result.id).where(~entry).order_by(col(Result.id)).limit(_MOST)):
        yield f"result:{number} has no entry"


def _changed_releases(session: Session) -> Iterator[str]:
    told = {entry.detail["release"]: entry for entries in _pages(session, "leaderboard.released") for entry in entries}
    rows = set(session.exec(select(Release.id)))
    for number in sorted({*told, *rows}):
        subject = f"release:{number}"
        if number not in rows:
            yield f"{subject} is gone"
        elif number not in told:
            yield f"{subject} has no entry"
        else:
            yield from _finding(subject, _release_differences(session, session.get_one(Release, number), told[number]))


def _release_differences(session: Session, release: Release, entry: AuditRow) -> list[str]:
    subject = f"gate:{entry.detail['gate']}"
    gate = session.get(Gate, entry.detail["gate"])
    concluded = select(AuditRow).where(AuditRow.action == "gate.concluded", AuditRow.subject == subject)
    decided = session.exec(concluded.order_by(col(AuditRow.sequence).desc())).first()
    if gate is None or decided is None or digest_of(gate.shown) != decided.detail["digest"]:
        return [f"what was shown at {subject}"]
    counted = select(ReleaseResult.result_id).where(ReleaseResult.release_id == release.id)
    found: dict[str, Any] = {
        "gate": release.gate_id,
        "benchmark": release.benchmark_id,
        "results_up_to": release.results_up_to,
        "leaderboard": {**release.leaderboard, "released_at": None},
        "released_at": release.leaderboard["released_at"],
        "results": sorted(session.exec(counted)),
    }
    # Neither gates nor entries always told all of it.
    told: dict[str, Any] = {
        name: gate.shown[name] for name in ("results_up_to", "leaderboard", "results") if name in gate.shown
    }
    told |= {name: entry.detail[name] for name in ("gate", "released_at") if name in entry.detail}
    return _differences(found, {**told, "benchmark": gate.subject_id})


def _differences(found: dict[str, Any], told: dict[str, Any]) -> list[str]:
    return [name for name, value in sorted(told.items()) if found.get(name) != value]


def _finding(subject: str, differs: Iterable[str]) -> Iterator[str]:
    if words := ", ".join(differs):
        yield f"{subject}: {words}"


def _pages(session: Session, action: str) -> Iterator[list[AuditRow]]:
    query = select(AuditRow).where(AuditRow.action == action).order_by(col(AuditRow.sequence)).limit(_PAGE)
    sequence = 0
    while page := list(session.exec(query.where(AuditRow.sequence > sequence))):
        yield page
        sequence = page[-1].sequence


def _number(subject: str) -> int:
    return int(subject.rpartition(":")[2])
