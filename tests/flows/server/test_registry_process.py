"""The registry's whole process, as `assay registry start` runs it: nothing of its Prefect server is open, and reviews go on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from api.bootstrap import initialise
from api.client import RegistryClient, RegistryError
from api.core.settings import RegistrySettings
from api.schemas.benchmarks import BenchmarkCreate, DecisionCreate, GateState, Verdict
from api.schemas.people import OrganizationCreate
from cli.demo.federation import free_port
from cli.files import read_mapping
from flows.server.databases import drop_prefect_database
from flows.server.ledger import Ledger
from flows.server.postgres import EmbeddedPostgres
from tests.cli.federation import FNA, _cube, _send
from tests.flows.server.processes import Program, answers

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(900)]
Until = Callable[..., None]


@dataclass(frozen=True)
class Running:
    url: str
    pages: str
    token: str
    settings: RegistrySettings


@pytest.fixture(scope="module")
def running(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("process") / "registry"
    settings = RegistrySettings(data=data)
    host = OrganizationCreate(name="host", title="The host")
    token = initialise(settings, organization=host, email="root@host.example", name="Root")
    port, prefect_port = free_port(), free_port()
    words = (
        *("registry", "start", "--data", str(data), "--port", str(port), "--prefect-port", str(prefect_port)),
        *("--prefect-database-url", cluster.url("postgres")),
    )
    there = Running(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prefect_port}", token, settings)
    try:
        with Program(words, data / "log", until).running(lambda: answers(there.pages)):
            yield there
    finally:
        drop_prefect_database(cluster.url("postgres"), "prefect_registry")


def _asked(running: Running, folder: Path) -> int:
    """A benchmark that Root has made and submitted; the number of its gate."""
    with RegistryClient(running.url, running.token) as root:
        metrics = _cube(root, FNA / "metrics", folder, "fna-metrics", "metrics")
        specification = {
            **read_mapping(FNA / "benchmark.yaml"),
            "metrics": metrics.contract["metrics"],
            "preparator_cube_id": _cube(root, FNA / "preparator", folder, "fna-preparator", "data_preparator").id,
            "metrics_cube_id": metrics.id,
            "demo_dataset_digest": _send(root, FNA / "demo_dataset", folder),
        }
        benchmark = root.benchmarks.create(BenchmarkCreate.model_validate(specification))
        return root.benchmarks.submit(benchmark.id).id


class TestStart:
    def test_nobody_reaches_its_prefect_server_and_reviews_wait_there(
        self, running: Running, tmp_path: Path, until: Until
    ) -> None:
        gate_id = _asked(running, tmp_path)
        with RegistryClient(running.url, running.token) as root:
            until(lambda: root.gates.get(gate_id).flow_run_id is not None, "the dispatcher to start a review")
            run = root.gates.get(gate_id).flow_run_id
            with httpx2.Client(base_url=running.pages, trust_env=False, timeout=60) as nobody:
                assert nobody.get(f"/api/flow_runs/{run}").status_code == 401
                assert nobody.post("/api/flow_runs/filter", json={}).status_code == 401
                assert nobody.post(f"/api/flow_runs/{run}/resume", json={}).status_code == 401
                assert nobody.get("/v2/dashboard", headers={"Accept": "text/html"}).status_code == 303
                headers = {"Authorization": f"Bearer {running.token}"}

                def state() -> str:
                    return str(nobody.get(f"/api/flow_runs/{run}", headers=headers).json()["state"]["type"])

                until(lambda: state() == "PAUSED", "the review to rest")
                with pytest.raises(RegistryError, match="nobody decides about their own"):
                    root.gates.decide(gate_id, self._decision(root, gate_id))
                form = {"run_input": json.loads(self._decision(root, gate_id).model_dump_json())}
                own = nobody.post(f"/api/flow_runs/{run}/resume", json=form, headers=headers)
                assert own.status_code == 403
                assert "nobody decides about their own" in own.json()["detail"]
                assert state() == "PAUSED"
            assert root.gates.get(gate_id).state == GateState.OPEN
        ledger = Ledger(running.settings.ledger_file)
        assert {row.status for row in ledger.refusals()} == {401, 403}
        ledger.close()

    def test_its_secrets_lie_nowhere(self, running: Running) -> None:
        assert running.settings.ledger_file.stat().st_mode & 0o077 == 0
        written = b"".join(file.read_bytes() for file in running.settings.data.rglob("*.sqlite*"))
        assert running.token.encode() not in written

    @staticmethod
    def _decision(root: RegistryClient, gate_id: int) -> DecisionCreate:
        return DecisionCreate(digest=root.gates.get(gate_id).digest, verdict=Verdict.APPROVE, reason="mine")
