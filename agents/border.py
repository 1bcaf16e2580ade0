"""The border: the one module of a site that talks to the registry. Everything goes out from here, and nothing comes in uncalled.

It asks what there is to do, fetches what was approved by digest, and sends what lies in the outbox. A test reads the
source of the whole site and fails if another module could open a connection to the registry; another runs a whole job
and lists each connection that was made.
"""

from enum import Enum
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session

from agents.errors import NotClearedError
from agents.home import Home, write_private
from agents.locks import locked
from agents.store import Store
from agents.store import outbox as box
from agents.store.clearance import clear
from agents.store.datasets import list_datasets
from agents.store.executions import find_score, set_score_state
from agents.store.heads import Contradiction, keep_head
from agents.store.tables import Dataset, DatasetState, OutboxItem, ScoreState
from api.client import Refused, RegistryClient, RegistryError
from api.schemas.border import ApprovedResult, DatasetRegistration
from api.schemas.common import Strict
from api.schemas.records import SiteWork

_NEVER: Final = frozenset({400, 404, 409, 413, 415, 422})
"""Answers of the registry that the same payload will always get."""
_NOT_NOW: Final = frozenset({401, 407, 408, 425, 429, 502, 503, 504})
"""Answers that have nothing to do with the payload: the next would get the same."""
_OURS: Final = "urn:assay:"
"""How the registry's own problems begin; a proxy's or a captive portal's do not."""


class _Ended(Enum):
    SENT = "sent"
    REFUSED = "refused"
    HELD = "held"


class Border:
    """A site's connection to its registry."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home, self._store = home, store
        self._client = RegistryClient(home.settings().registry_url, home.token())

    def close(self) -> None:
        self._client.close()

    def greeting(self) -> dict[str, str]:
        """Whether the registry answers: its version, and its clock as `time`.

        Raises:
            api.client.RegistryError: it does not.
        """
        return self._client.health()

    def ask(self) -> SiteWork:
        """What the registry asks of this site, for whoever only looks: nothing of it is kept.

        Raises:
            api.client.RegistryError: not reachable, or it refuses.
        """
        return self._client.site_work()

    def pull_work(self) -> tuple[SiteWork, Contradiction | None]:
        """What the registry asks of this site; kept in a file for the time that it is away.

        Returns:
            The work, and how the registry's history contradicts what this site remembers of it, if that is new.

        Raises:
            api.client.RegistryError: not reachable, or it refuses.
        """
        # Two answers that overtake each other would look like a history that shrank.
        with locked(self._home.pull_lock):
            work = self._client.site_work()
            write_private(self._home.work_file, work.model_dump_json())
            with self._store.write() as session:
                return work, keep_head(session, work.audit_head)

    def fetch(self, digest: str, target: Path) -> None:
        """Fetch a blob by its digest into a file; the client verifies it while writing.

        Raises:
            api.client.RegistryError: not reachable, unknown, or the bytes have another digest.
        """
        self._client.blobs.download(digest, target)

    def flush(self) -> int:
        """Send what is due, oldest first; what is about the same subject never overtakes. One process at a time does.

        A payload that the registry refuses for good is kept for a person, and the others go on.

        Returns:
            How many were sent.

        Raises:
            api.client.RegistryError: not reachable, or it does not know this site: nothing is lost, all of it waits.
        """
        with locked(self._home.flush_lock):
            with self._store.read() as session:
                items = box.due(session)
            sent, held = 0, set[str]()
            for item in items:
                if item.subject not in held:
                    ended = self._send(item)
                    sent += ended == _Ended.SENT
                    held |= {item.subject} if ended == _Ended.HELD else set()
            return sent

    def _send(self, item: OutboxItem) -> _Ended:
        try:
            # Committed before a byte goes: an answer may be lost, and so may this process.
            with self._store.write() as session:
                payload = clear(session, item)
                box.mark_offered(session, item.id or 0)
            answer = self._client.send(item.kind, item.body, idempotency_key=item.idempotency_key)
        except (NotClearedError, RegistryError) as error:
            return self._not_sent(item, error)
        try:
            with self._store.write() as session:
                box.mark_sent(session, item.id or 0)
                note_arrival(session, payload, answer)
        except (KeyError, TypeError, ValueError) as error:
            return self._not_sent(item, error)
        return _Ended.SENT

    def _not_sent(self, item: OutboxItem, error: Exception) -> _Ended:
        """Note why a payload is still here.

        Raises:
            api.client.RegistryError: the connection, not the payload, is the reason.
        """
        connection = isinstance(error, RegistryError) and not _is_about_the_payload(error)
        final = isinstance(error, NotClearedError) or (isinstance(error, Refused) and error.status in _NEVER)
        mark = box.note_problem if connection else box.mark_refused if final else box.mark_later
        with self._store.write() as session:
            mark(session, item.id or 0, f"{type(error).__name__}: {error}")
        if connection:
            raise error
        return _Ended.REFUSED if final else _Ended.HELD


def _is_about_the_payload(error: RegistryError) -> bool:
    return isinstance(error, Refused) and error.status not in _NOT_NOW and error.problem.type.startswith(_OURS)


def note_arrival(session: Session, payload: Strict, answer: dict[str, Any]) -> None:
    """What the registry's answer to a payload means for the site's own records."""
    if isinstance(payload, DatasetRegistration):
        number = int(answer["id"])
        for dataset in list_datasets(session):
            if dataset.name == payload.name and dataset.root == payload.root:
                _registered(session, dataset, number)
    elif isinstance(payload, ApprovedResult):
        score = find_score(session, payload.score, payload.benchmark_id, payload.model_id)
        if score is not None:
            set_score_state(session, score.id or 0, ScoreState.SENT)


def _registered(session: Session, dataset: Dataset, registered_id: int) -> None:
    dataset.state, dataset.registered_id = DatasetState.REGISTERED, registered_id
    session.add(dataset)
