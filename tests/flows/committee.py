"""A registry whose reviews really run: the real application with people, its dispatcher, and warm flows on the real Prefect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2

from agents.prefect_api import PrefectApi
from api.bootstrap import ServiceToken
from api.client import RegistryClient
from api.schemas.benchmarks import (
    AssociationCreate,
    AssociationKind,
    AssociationPolicy,
    AssociationState,
    BenchmarkCreate,
    BenchmarkPolicyUpdate,
    BenchmarkPublic,
    DecisionCreate,
    GatePublic,
    GateState,
    Verdict,
)
from flows.deployments import REGISTRY, registry_flows
from flows.dispatcher import ReviewDispatcher
from flows.review import connect
from flows.warm import WarmRunner
from tests.cli.federation import Federation
from tests.flows.agency import LONG_S

_OF_A_DRAFT = frozenset(BenchmarkCreate.model_fields)


@dataclass
class Committee:
    """Make it with `reviews(...)`. Ada owns benchmarks, Root approves them, Ada and Bob are the committee of the one there."""

    there: Federation
    api: PrefectApi
    until: Callable[..., None]
    lock: Path
    _service: RegistryClient
    _runner: WarmRunner | None = None
    _dispatcher: ReviewDispatcher | None = None

    def start(self) -> None:
        connect(self._service)
        self._runner = WarmRunner(registry_flows(), deployment=REGISTRY, api_url=self.api.url, lock=self.lock)
        self._runner.start()
        self._dispatcher = ReviewDispatcher(self._service, self.api, self._runner.nudge, every_s=0.2)
        self._dispatcher.ticker.start()

    def stop(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.ticker.stop()
        if self._runner is not None:
            self._runner.stop()
        self._dispatcher = self._runner = None

    def draft(self) -> BenchmarkPublic:
        """A new benchmark of Ada's, like the one there."""
        with self.there.client("ada") as ada:
            like = ada.benchmarks.get(self.there.ids["benchmark"]).model_dump(include=set(_OF_A_DRAFT))
            return ada.benchmarks.create(
                BenchmarkCreate.model_validate(
                    {
                        **like,
                        "name": f"like-{uuid4().hex[:8]}",
                        "reference_model_id": None,
                        "model_policy": AssociationPolicy(),
                    }
                )
            )

    def submitted(self) -> GatePublic:
        """The gate of a new benchmark."""
        draft = self.draft()
        with self.there.client("ada") as ada:
            return ada.benchmarks.submit(draft.id)

    def requested(self, quorum: int) -> GatePublic:
        """The gate of a model's request to join a benchmark of Ada's and Bob's, where so many must approve."""
        benchmark = self.there.ids["benchmark"]
        with self.there.client("ada") as ada, self.there.client("mel") as mel:
            ada.benchmarks.update_policy(
                benchmark, BenchmarkPolicyUpdate(model_policy=AssociationPolicy(quorum=quorum))
            )
            model = mel.models.get(self.there.ids["logistic-regression"])
            found = mel.associations.get(self.there.ids["association:logistic-regression"])
            if found.state != AssociationState.WITHDRAWN:
                mel.associations.withdraw(found.id, "once more")
            assert found.compatibility is not None
            asked = mel.associations.create(
                AssociationCreate(
                    benchmark_id=benchmark,
                    kind=AssociationKind.MODEL,
                    subject_id=model.id,
                    compatibility=found.compatibility,
                )
            )
            self.there.ids["association:logistic-regression"] = asked.id
            # The open gate keeps its quorum; what else the committee is asked needs one of them again.
            ada.benchmarks.update_policy(benchmark, BenchmarkPolicyUpdate(model_policy=AssociationPolicy()))
        return self.there.gate_of("ada", kind="association", subject_id=asked.id)

    def rests(self, gate: GatePublic) -> str:
        """The flow run that has come to rest at a gate."""

        def resting() -> bool:
            run = self.now(gate).flow_run_id
            return run is not None and self.api.state(run)[0] == "PAUSED"

        self.until(resting, f"a review to rest at gate {gate.id}", limit_s=LONG_S)
        return str(self.now(gate).flow_run_id)

    def decide(
        self, who: str, gate: GatePublic, verdict: Verdict = Verdict.APPROVE, *, reason: str = "seen", digest: str = ""
    ) -> None:
        with self.there.client(who) as client:
            client.gates.decide(gate.id, DecisionCreate(digest=digest or gate.digest, verdict=verdict, reason=reason))

    def concluded(self, gate: GatePublic) -> GatePublic:
        """The gate when its flow has let it be concluded, and has ended."""

        def over() -> bool:
            found = self.now(gate)
            return found.state == GateState.CONCLUDED and self.api.state(str(found.flow_run_id))[0] == "COMPLETED"

        self.until(over, f"the end of gate {gate.id}", limit_s=LONG_S)
        return self.now(gate)

    def now(self, gate: GatePublic) -> GatePublic:
        return self._service.gates.get(gate.id)


@contextmanager
def reviews(there: Federation, api: PrefectApi, until: Callable[..., None], folder: Path) -> Iterator[Committee]:
    """A committee whose reviews run. They are removed at its end: the next registry's gates have the same numbers."""
    with RegistryClient(there.url, ServiceToken(there.settings)) as service:
        made = Committee(there, api, until, folder / "reviews.lock", service)
        made.start()
        try:
            yield made
        finally:
            made.stop()
            for gate in service.gates.all():
                if gate.flow_run_id is not None:
                    httpx2.delete(f"{api.url}/flow_runs/{gate.flow_run_id}", timeout=60, trust_env=False)
