"""How far staged preparations are, for the registry: where a data owner agreed, and never more often than every 30 seconds."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, select

from agents.site import Site
from agents.staging import report_of
from agents.store import outbox
from agents.store.consents import consents
from agents.store.datasets import list_datasets
from agents.store.tables import Dataset, OutboxItem
from api.schemas.border import PayloadKind, PreparationProgress
from api.storage.columns import now
from cubes.errors import ReportError

EVERY: Final = timedelta(seconds=30)


def queue_progress(site: Site) -> list[str]:
    """Queue the fractions of each preparation that have changed.

    Returns:
        The names of the datasets of which something was queued.
    """
    with site.store.write() as session:
        return [each.name for each in list_datasets(session) if each.folder and _queue(session, each)]


def _queue(session: Session, dataset: Dataset) -> bool:
    if not consents(session, dataset.name):
        return False
    last = _last(session, dataset.name)
    if last is not None and now() - last.created_at < EVERY:
        return False
    try:
        found = report_of(Path(dataset.folder or "")).fractions()
    except ReportError:
        return False  # not staged, or being written just now
    fractions = {str(status): fraction for status, fraction in found.items()}
    if not fractions or (last is not None and json.loads(last.body)["fractions"] == fractions):
        return False
    progress = PreparationProgress(
        benchmark_id=dataset.benchmark_id, name=dataset.name, fractions=fractions, measured_at=now()
    )
    key = f"preparation-{dataset.id}-{progress.measured_at.timestamp():.6f}"
    outbox.enqueue(session, PayloadKind.PREPARATION, progress, subject=_subject(dataset.name), key=key)
    return True


def _subject(name: str) -> str:
    """Apart from the dataset's own payloads: nobody waits for progress."""
    return f"{name} (preparation)"


def _last(session: Session, name: str) -> OutboxItem | None:
    query = select(OutboxItem).where(OutboxItem.kind == PayloadKind.PREPARATION, OutboxItem.subject == _subject(name))
    return session.exec(query.order_by(col(OutboxItem.id).desc()).limit(1)).first()
