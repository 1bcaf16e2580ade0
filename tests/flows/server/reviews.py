"""A registry with its reviews: the real web application, Prefect's server behind the layer, a runner, the dispatcher."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from sqlmodel import col, select

from agents.prefect_api import PrefectApi
from api.bootstrap import ServiceToken
from api.client import RegistryClient
from api.core.database import transaction
from api.nouns.gates.tables import Decision
from api.schemas.benchmarks import BenchmarkCreate, GatePublic, GateState
from api.storage.engine import make_engine
from cli.files import read_mapping
from cli.processes.layers import registry_layer
from cubes.packing import pack_folder
from flows.deployments import REGISTRY, registry_flows
from flows.dispatcher import ReviewDispatcher
from flows.review import connect
from flows.server.ledger import Ledger
from flows.server.separate import SeparateServer, ServerOrder
from flows.warm import WarmRunner
from tests.cli.federation import FNA, Federation, federation

Until = Callable[..., None]


@dataclass(frozen=True)
class Reviews:
    """Ada and Bob are the committee of the benchmark, Eve that of another one, Root is the platform administrator."""

    url: str
    """Of the pages; the API is below `/api`."""
    there: Federation
    ledger: Ledger
    service: dict[str, str]
    until: Until
    folder: Path

    def client(self, who: str | None = None, **headers: str) -> httpx2.Client:
        """A program that sends somebody's personal token; of the registry: the same as everywhere there."""
        tokens = {name: {"Authorization": f"Bearer {token}"} for name, token in self.there.tokens.items()}
        own = {} if who is None else {**tokens, "service": self.service}[who]
        return httpx2.Client(base_url=self.url, headers={**own, **headers}, timeout=60, trust_env=False, verify=False)

    def browser(self, who: str) -> httpx2.Client:
        """A browser in which somebody has signed in with their address and personal token."""
        with self.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
            form = {"email": self.address(who), "password": self.there.tokens[who]}
            answer = client.post("/sign-in", data=form)
        assert answer.status_code == 303, answer.text
        cookie = answer.headers["set-cookie"].partition(";")[0]
        return self.client(**{"Sec-Fetch-Site": "same-origin", "Cookie": cookie})

    def address(self, who: str) -> str:
        with self.there.client(who) as client:
            return client.users.me().email

    def release_gate(self) -> GatePublic:
        """The gate at which Ada has asked to release the leaderboard, with a review that rests there."""
        with self.there.client("ada") as ada:
            benchmark = self.there.ids["benchmark"]
            live = ada.gates.list(live=True, kind="leaderboard", benchmark_id=benchmark).items
            gate = live[0] if live else ada.benchmarks.release(benchmark)
        return self.resting(gate)

    def others_gate(self) -> GatePublic:
        """The gate of Eve's benchmark, which only Root decides."""
        with self.there.client("eve") as eve:
            live = eve.gates.list(live=True, kind="benchmark").items
            gate = live[0] if live else eve.benchmarks.submit(self._others_benchmark(eve))
        return self.resting(gate)

    def resting(self, gate: GatePublic) -> GatePublic:
        """The gate once its review has come to rest."""
        self.until(lambda: self.gate(gate).flow_run_id is not None, "a review")
        run = str(self.gate(gate).flow_run_id)
        self.until(lambda: self.state(run) == "PAUSED", "the review to rest")
        return self.gate(gate)

    def gate(self, gate: GatePublic) -> GatePublic:
        with RegistryClient(self.there.url, ServiceToken(self.there.settings)()) as service:
            return service.gates.get(gate.id)

    def concluded(self, gate: GatePublic) -> GatePublic:
        self.until(lambda: self.gate(gate).state == GateState.CONCLUDED, "the registry to conclude")
        return self.gate(gate)

    def decisions(self, gate: GatePublic) -> list[Decision]:
        """The rows as they lie in the registry's database."""
        engine = make_engine(self.there.settings.url)
        try:
            with transaction(engine, write=False) as session:
                query = select(Decision).where(Decision.gate_id == gate.id).order_by(col(Decision.id))
                return list(session.exec(query))
        finally:
            engine.dispose()

    def state(self, run: str) -> str:
        with self.client("service") as client:
            return str(client.get(f"/api/flow_runs/{run}").json()["state"]["type"])

    def form(self, gate: GatePublic, **changes: Any) -> dict[str, Any]:
        """The form in Prefect's pages, filled in."""
        return {"run_input": {"verdict": "reject", "reason": "too few sites", "digest": gate.digest, **changes}}

    def refused(self, path: str) -> bool:
        return any(path in row.path for row in self.ledger.refusals(limit=50))

    def _demo(self, eve: RegistryClient) -> str:
        archive = self.folder / "demo.tar"
        pack_folder(FNA / "demo_dataset", archive)
        return eve.blobs.upload(archive)

    def _others_benchmark(self, eve: RegistryClient) -> int:
        with self.there.client("ada") as ada:
            known = ada.benchmarks.get(self.there.ids["benchmark"])
        specification = {
            **read_mapping(FNA / "benchmark.yaml"),
            "name": f"other-{uuid4().hex[:8]}",
            "metrics": [metric.model_dump() for metric in known.metrics],
            "preparator_cube_id": known.preparator_cube_id,
            "metrics_cube_id": known.metrics_cube_id,
            "demo_dataset_digest": self._demo(eve),
        }
        return eve.benchmarks.create(BenchmarkCreate.model_validate(specification)).id


@contextmanager
def running_reviews(folder: Path, database_url: str, until: Until) -> Iterator[Reviews]:
    """All of it, until the block ends."""
    with federation(folder) as there:
        token = uuid4().hex
        headers = {"Authorization": f"Bearer {token}"}
        arguments = {"data": str(there.settings.data), "database_url": "", "service_token": token}
        order = ServerOrder(
            database_url=database_url,
            home=folder / "prefect",
            layer=f"{registry_layer.__module__}:{registry_layer.__qualname__}",
            layer_arguments=arguments,
        )
        with SeparateServer(order) as server, _service(there, server.url, headers, folder):
            ledger = Ledger(there.settings.ledger_file)
            yield Reviews(server.url.removesuffix("/api"), there, ledger, headers, until, folder)
            ledger.close()


@contextmanager
def _service(there: Federation, prefect_url: str, headers: dict[str, str], folder: Path) -> Iterator[None]:
    """What the registry's process runs beside the server."""
    client = RegistryClient(there.url, ServiceToken(there.settings))
    connect(client)
    lock = folder / "flows.lock"
    runner = WarmRunner(registry_flows(), deployment=REGISTRY, api_url=prefect_url, lock=lock, headers=headers)
    prefect = PrefectApi(prefect_url, headers)
    dispatcher = ReviewDispatcher(client, prefect, runner.nudge, every_s=0.2)
    runner.start()
    dispatcher.ticker.start()
    try:
        yield
    finally:
        dispatcher.ticker.stop()
        runner.stop()
        prefect.close()
        client.close()
