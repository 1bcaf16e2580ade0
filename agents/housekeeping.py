"""What a site's agent sees to from time to time: that steps are still isolated, that datasets are still what was
registered, that what a dead agent left is gone, and that logs do not fill the disk.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from agents.errors import AgentError
from agents.site import Site
from agents.storage import prune_logs
from agents.store.datasets import list_datasets, update_dataset
from agents.store.gates import remind
from agents.store.outbox import forget_heartbeats
from agents.store.tables import Dataset, DatasetState
from agents.ticker import Ticker
from api.schemas.border import Isolation, ProbeOutcome
from api.storage.columns import now

_TIDY_S: Final = 3600.0
_REMIND_S: Final = 300.0
_ABANDONED_S: Final = 3600.0
"""Where steps outlive the agent, one that nobody took up for so long is ended."""


class Housekeeping:
    """Does each thing when it is due, in a thread of its own: reading a large dataset takes hours.

    Args:
        site: whose house.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._log = structlog.get_logger().bind(loop="housekeeping")
        start = time.monotonic()
        every = site.settings.probe_every_s
        # The agent's start has run the probe; a registered dataset is looked at within the first minute.
        self._due: dict[Callable[[], object], tuple[float, float]] = {
            self.probe: (start + every, every),
            self.tidy: (start, _TIDY_S),
            self.verify: (start, _TIDY_S),
            self.remind: (start, _REMIND_S),
        }
        self.ticker = Ticker("housekeeping", 5.0, self.tick)

    def tick(self) -> None:
        """One round.

        Raises:
            Exception: the first problem, after everything that is due had its turn; what failed is due again.
        """
        problem: Exception | None = None
        for act, (due, every) in self._due.items():
            if time.monotonic() < due:
                continue
            try:
                act()
                self._due[act] = (time.monotonic() + every, every)
            except Exception as error:  # noqa: BLE001 - raised below, once the others had their turn
                problem = problem or error
        if problem is not None:
            raise problem

    def probe(self) -> ProbeOutcome:
        """Run the deny probe again: a kernel or a policy may have changed under a running agent."""
        outcome = self._site.probe()
        if outcome.isolation != Isolation.ISOLATED:
            failed = sorted(name for name, held in outcome.checks.items() if not held)
            self._log.error("steps are not isolated", failed=failed)
        return outcome

    def remind(self) -> None:
        """Say what has waited for a decision for long, where the site asks for that."""
        with self._site.store.write() as session:
            events = remind(session, self._site.settings.gates)
        for event in events:
            self._log.warning(f"a gate was {event.kind}", gate=event.gate_id, title=event.detail)

    def verify(self) -> None:
        """Look at every registered dataset; fully where that is due."""
        with self._site.store.read() as session:
            registered = [each for each in list_datasets(session) if each.state == DatasetState.REGISTERED]
        for dataset in registered:
            verify_registered(self._site, dataset)

    def tidy(self) -> None:
        """End and remove what a dead agent left, forget old heartbeats, remove old logs."""
        site = self._site
        ended = asyncio.run(site.sweep_steps(_ABANDONED_S if site.runtime.outlives_agent else 0.0))
        with site.store.write() as session:
            forgotten = forget_heartbeats(session, now() - timedelta(days=site.settings.keep_heartbeats_days))
        removed = len(prune_logs(site))
        if ended or forgotten or removed:
            self._log.info("tidied", steps=ended, heartbeats=forgotten, logs=removed)


def verify_registered(site: Site, dataset: Dataset, *, full: bool = False) -> str:
    """Verify a registered dataset, and keep what was found with it for people to see.

    Returns:
        What is wrong with it; empty when nothing is.
    """
    problem = ""
    try:
        site.verify(dataset.name, Path(dataset.folder or ""), dataset.root or "", full=full)
    except AgentError as error:
        problem = str(error)
        structlog.get_logger().error("a registered dataset is not what it was", dataset=dataset.name, detail=problem)
    if problem != dataset.message:
        with site.store.write() as session:
            update_dataset(session, dataset.name, message=problem)
    return problem
