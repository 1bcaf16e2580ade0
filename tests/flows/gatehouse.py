"""A flow with one gate, run warm against the real server, and a book of gates on a site's real store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from prefect import flow
from prefect.runtime import flow_run as this_run

from agents.prefect_api import PrefectApi
from agents.store import Store, gates
from agents.store.people import add_person
from agents.store.tables import Gate, Role
from api.schemas.benchmarks import Verdict
from flows.gates import Decision, GateRejected, Shown, hold
from flows.warm import WarmRunner


class StoreBook:
    """Gates and decisions in a store, and how often each run has come to rest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rests: list[str] = []

    def open_gate(self, *, name: str, title: str, subject: str, shown: Shown, flow_run_id: str) -> str:
        with self._store.write() as session:
            return gates.open_gate(
                session, name=name, title=title, subject=subject, shown=shown, flow_run_id=flow_run_id
            ).id

    def decision(self, gate_id: str) -> Decision | None:
        with self._store.read() as session:
            row = gates.valid_decision(session, gate_id)
            if row is None:
                return None
            return Decision(
                gate_id=gate_id,
                verdict=row.verdict.value,
                person=row.person,
                decided_at=row.decided_at,
                digest=row.digest,
                reason=row.reason,
                withheld=tuple(row.withheld),
            )

    def suspended(self, gate_id: str) -> None:
        with self._store.write() as session:
            gates.mark_waiting(session, gate_id)
            self.rests.append(gates.find_gate(session, gate_id).flow_run_id)


class Gatehouse:
    """Runs that ask `may_go`, what they show, and what became of them."""

    def __init__(self, folder: Path, api: PrefectApi, until: Callable[..., None]) -> None:
        self.api, self._until = api, until
        self.store = Store(folder / "site.db")
        self.book = StoreBook(self.store)
        self.shown: dict[str, Shown] = {}
        self.passed: dict[str, Decision] = {}
        self.rejected: dict[str, str] = {}
        self._name = f"gate-{uuid4().hex[:8]}"
        self.flow = self._flow()
        self._runner = WarmRunner(
            [self.flow], deployment="test", api_url=api.url, lock=folder / "gate.lock", poll_s=0.5
        )
        with self.store.write() as session:
            self.person = add_person(session, email="ada@north.example", name="Ada", role=Role.DATA_OWNER)[0]

    def start(self) -> None:
        self._runner.start()

    def stop(self) -> None:
        self._runner.stop()
        self.store.close()

    def ask(self, shown: Shown) -> str:
        """A run that shows this and has come to rest."""
        asked = uuid4().hex
        self.shown[asked] = shown
        run = self.api.create_flow_run(f"{self._name}/test", {"asked": asked}, idempotency_key=asked)
        self._until(lambda: self.api.state(run)[0] == "PAUSED" and not self.holds(run), "its rest")
        self.shown[run] = self.shown[asked]
        return run

    def holds(self, run: str) -> bool:
        """Whether anything of a run lives in this process."""
        executor = self._runner._executor
        return executor is not None and run in {str(live) for live in executor.live}

    def gate(self, run: str) -> Gate:
        """The gate at which the run waits."""
        with self.store.read() as session:
            found = gates.gate_of_run(session, run)
        assert found is not None
        return found

    def decide(self, run: str, verdict: Verdict, withheld: list[str] | None = None, digest: str = "") -> Gate:
        gate = self.gate(run)
        with self.store.write() as session:
            gates.decide(
                session,
                gate_id=gate.id,
                digest=digest or gate.digest,
                verdict=verdict,
                person=self.person,
                reason="looked at it",
                withheld=withheld,
            )
        return gate

    def answer(self, run: str, **changes: Any) -> dict[str, Any]:
        """A form filled in as the server takes it: of the newest gate, whatever was decided about it."""
        with self.store.read() as session:
            opened = [gate for gate in gates.list_gates(session, undecided=False) if gate.flow_run_id == run]
        return {"verdict": "approve", "reason": "filled in", "digest": opened[-1].digest} | changes

    def wake(self, run: str, **changes: Any) -> None:
        answer = self.answer(run, **changes)
        self._until(lambda: self.api.resume(run, answer), "its waking")

    def rests_again(self, run: str, times: int = 2) -> None:
        self._until(
            lambda: self.book.rests.count(run) >= times and self.api.state(run)[0] == "PAUSED", "its resting again"
        )

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """A raw request, as whoever reaches the server may send it."""
        return httpx2.post(self.api.url + path, json=body, trust_env=False)

    def _flow(self) -> Any:
        @flow(name=self._name, persist_result=False)
        async def body(asked: str) -> None:
            run = str(this_run.get_id())
            try:
                self.passed[run] = await hold(
                    self.book,
                    name="may_go",
                    title="May this go?",
                    subject=asked,
                    show=lambda: self.shown.get(run, self.shown[asked]),
                    describe=lambda shown: "\n".join(f"- {key}: {value}" for key, value in shown.items()),
                )
            except GateRejected as rejection:
                self.rejected[run] = str(rejection)

        return body
