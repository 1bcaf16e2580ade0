"""The border: the one module of a site that talks to the registry. Everything goes out from here, and nothing comes in uncalled.

It asks what there is to do, fetches what was approved by digest, and sends what lies in the outbox. A test reads the
source of the whole site and fails if another module could open a connection to the registry.
"""

from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from agents.home import Home
from agents.store import Store
from agents.store import outbox as box
from agents.store.datasets import list_datasets
from agents.store.executions import set_score_state
from agents.store.tables import Dataset, DatasetState, KeptHead, OutboxItem, ScoreState
from api.client import Refused, RegistryClient, Unreachable
from api.schemas.border import ApprovedResult, DatasetRegistration, PayloadKind
from api.schemas.records import AuditHead, SiteWork

_NEVER = frozenset({400, 404, 409, 413, 415, 422})
"""Answers that the same payload will always get."""


class Border:
    """A site's connection to its registry."""

    def __init__(self, home: Home, store: Store) -> None:
        self._store = store
        self._work_file = home.work_file
        self._client = RegistryClient(home.settings().registry_url, home.token())

    def close(self) -> None:
        self._client.close()

    def pull_work(self) -> SiteWork:
        """What the registry asks of this site; kept in a file for the time that it is away.

        Raises:
            api.client.RegistryError: not reachable, or it refuses.
        """
        work = self._client.site_work()
        temporary = self._work_file.with_suffix(".new")
        temporary.write_text(work.model_dump_json(), encoding="utf-8")
        temporary.replace(self._work_file)
        with self._store.write() as session:
            keep_head(session, work.audit_head)
        return work

    def fetch(self, digest: str, target: Path) -> None:
        """Fetch a blob by its digest into a file; the client verifies it while writing.

        Raises:
            api.client.RegistryError: not reachable, unknown, or the bytes have another digest.
        """
        self._client.blobs.download(digest, target)

    def flush(self) -> tuple[int, str]:
        """Send what is due, oldest first.

        Returns:
            How many were sent, and why it stopped (empty when nothing is left).
        """
        with self._store.read() as session:
            items = box.due(session)
        sent = 0
        for item in items:
            problem, go_on = self._send(item)
            sent += not problem
            if not go_on:
                return sent, problem
        return sent, ""

    def _send(self, item: OutboxItem) -> tuple[str, bool]:
        """Send one; (problem, whether the next is worth trying)."""
        try:
            answer = self._client.send(item.kind, item.body, idempotency_key=item.idempotency_key)
        except Refused as error:
            with self._store.write() as session:
                if error.status in _NEVER:
                    box.mark_refused(session, item.id or 0, str(error))
                    return str(error), True
                box.mark_later(session, item.id or 0, str(error))
            return str(error), False
        except Unreachable as error:
            with self._store.write() as session:
                box.mark_later(session, item.id or 0, str(error))
            return str(error), False
        with self._store.write() as session:
            box.mark_sent(session, item.id or 0)
            _note_arrival(session, item, answer)
        return "", True


def keep_head(session: Session, head: AuditHead) -> None:
    """Keep the head of the registry's audit chain: whoever rewrites history must rewrite it at every site."""
    if session.get(KeptHead, head.sequence) is None:
        session.add(KeptHead(sequence=head.sequence, head=head.head))


def conflicting_head(session: Session, head: AuditHead) -> KeptHead | None:
    """The head this site kept that the registry's present one contradicts, if there is one."""
    query = select(KeptHead).where(col(KeptHead.sequence) >= head.sequence).order_by(col(KeptHead.sequence))
    for kept in session.exec(query):
        if kept.sequence > head.sequence or kept.head != head.head:
            return kept
    return None


def _note_arrival(session: Session, item: OutboxItem, answer: dict[str, Any]) -> None:
    if item.kind == PayloadKind.DATASET:
        registration = DatasetRegistration.model_validate_json(item.body)
        for dataset in list_datasets(session):
            if dataset.name == registration.name and dataset.root == registration.root:
                _registered(session, dataset, int(answer["id"]))
    elif item.kind == PayloadKind.RESULT:
        result = ApprovedResult.model_validate_json(item.body)
        score_id = int(item.idempotency_key.rsplit("-", 1)[1])
        if result.score:
            set_score_state(session, score_id, ScoreState.SENT)


def _registered(session: Session, dataset: Dataset, registered_id: int) -> None:
    dataset.state, dataset.registered_id = DatasetState.REGISTERED, registered_id
    session.add(dataset)
