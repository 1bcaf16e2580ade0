"""A benchmark's campaign at a registry, step by step and through the routes: what tests of its later steps start from."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api.client import Refused, RegistryClient
from api.schemas.benchmarks import (
    AssociationCreate,
    AssociationKind,
    AssociationPublic,
    BenchmarkCreate,
    BenchmarkPublic,
    CommitteeMember,
    Compatibility,
    DecisionCreate,
    DecisionPublic,
    GatePublic,
    Verdict,
)
from api.schemas.border import ApprovedResult, DatasetRegistration, ExecutionEvent, PayloadKind
from api.schemas.cubes import CubeCreate, CubeKind, CubePublic, ModelCreate, ModelPublic
from api.schemas.records import BenchmarkWork
from api.storage.columns import now
from cubes.digests import digest_bytes, execution_identity, score_identity
from cubes.packing import pack_folder
from tests.api.world import Registry, write_cube

METRICS: Final = (
    {"name": "auroc", "minimum": 0, "maximum": 1},
    {"name": "accuracy", "minimum": 0, "maximum": 1, "decomposable": True},
    {"name": "brier", "direction": "lower", "minimum": 0, "maximum": 1, "decomposable": True},
)
GOOD: Final = {"auroc": 0.9, "accuracy": 0.8, "brier": 0.1}
PROBE: Final = {
    "runtime": "process",
    "isolation": "isolated",
    "checks": {"no_network": True},
    "probed_at": "2026-01-01T00:00:00Z",
}
HEARTBEAT: Final = {
    "sent_at": "2026-01-01T00:00:00Z",
    "agent_version": "1",
    "running": 0,
    "waiting_gates": 0,
    "probe": PROBE,
}
_OTHER_METRICS: Final = """\
  - {name: accuracy, direction: higher, minimum: 0, maximum: 1, decomposable: true}
  - {name: brier, direction: lower, minimum: 0, maximum: 1, decomposable: true}"""


@dataclass
class Campaign:
    """One benchmark and everybody around it.

    People: `benchmark_owner` and `committee_member` are its committee, `model_owner` brings models, sites bring datasets.
    """

    registry: Registry
    scratch: Path

    # What there is

    @property
    def benchmark_id(self) -> int:
        return self.registry.ids["benchmark"]

    def benchmark(self) -> BenchmarkPublic:
        return self.client("benchmark_owner").benchmarks.get(self.benchmark_id)

    def client(self, party: str) -> RegistryClient:
        return self.registry.client_of(party)

    def work(self, site: str = "north") -> BenchmarkWork:
        return next(
            w for w in self.client(f"site:{site}").site_work().benchmarks if w.benchmark_id == self.benchmark_id
        )

    def cube(self, name: str) -> CubePublic:
        return self.client("benchmark_owner").cubes.list(name=name).items[0]

    def model(self, name: str) -> ModelPublic:
        return self.client("model_owner").models.list(name=name).items[0]

    def actions(self) -> list[str]:
        """What the audit log tells of, in order."""
        return [entry.action for entry in self.client("administrator").audit.entries(limit=200).items]

    # Cubes, models and the benchmark

    def add_cube(self, name: str, kind: CubeKind, *, party: str = "benchmark_owner", **changes: Any) -> CubePublic:
        folder, pack = self.scratch / name, self.scratch / f"{name}.tar"
        pack_folder(write_cube(folder, kind, mark=name, extra=_OTHER_METRICS if kind == CubeKind.METRICS else ""), pack)
        client = self.client(party)
        digest = client.blobs.upload(pack)
        cube: CubePublic = client.cubes.create(CubeCreate(name=name, kind=kind, pack_digest=digest, **changes))
        self.registry.ids[f"cube:{name}"] = cube.id
        return cube

    def add_model(self, name: str, *, party: str = "model_owner", **changes: Any) -> ModelPublic:
        cube = self.add_cube(f"{name}-cube", CubeKind.MODEL, party=party, **changes)
        card = dict.fromkeys(("title", "intended_use", "training_data", "architecture", "licence", "contact"), "x")
        model: ModelPublic = self.client(party).models.create(ModelCreate(name=name, cube_id=cube.id, **card))
        self.registry.ids[f"model:{name}"] = model.id
        return model

    def upload_demo(self, party: str = "benchmark_owner", content: bytes = b"demo") -> str:
        file = self.scratch / "demo.tar"
        file.write_bytes(content)
        return self.client(party).blobs.upload(file)

    def specification(self, **changes: Any) -> BenchmarkCreate:
        texts = ("title", "clinical_setting", "task", "labelling_method", "inclusion_criteria", "documentation")
        values: dict[str, Any] = {
            **dict.fromkeys(texts, "x"),
            "name": "fna",
            "metrics": METRICS,
            "primary_metric": "auroc",
            "preparator_cube_id": self.registry.ids["cube:preparator"],
            "metrics_cube_id": self.registry.ids["cube:metrics"],
            "demo_dataset_digest": digest_bytes(b"demo"),
            "minimum_cases": 10,
        }
        return BenchmarkCreate.model_validate({**values, **changes})

    def create(self, **changes: Any) -> BenchmarkPublic:
        benchmark: BenchmarkPublic = self.client("benchmark_owner").benchmarks.create(self.specification(**changes))
        self.registry.ids["benchmark"] = benchmark.id
        return benchmark

    def approve_benchmark(self, benchmark_id: int | None = None) -> None:
        gate = self.client("benchmark_owner").benchmarks.submit(benchmark_id or self.benchmark_id)
        self.pass_gate(gate, "administrator")

    def join_committee(self, *parties: str) -> None:
        for party in parties:
            member = CommitteeMember(user_id=self.registry.ids[party])
            self.client("benchmark_owner").benchmarks.add_member(self.benchmark_id, member)

    # Gates

    def gate(self, gate_id: int) -> GatePublic:
        return self.client("service").gates.get(gate_id)

    def gate_of(self, association: AssociationPublic) -> GatePublic:
        """The newest gate of an association."""
        gates = list(self.client("service").gates.all(kind="association", subject_id=association.id))
        last: GatePublic = gates[-1]
        return last

    def decide(
        self, gate: GatePublic, party: str, verdict: Verdict = Verdict.APPROVE, *, digest: str | None = None
    ) -> DecisionPublic:
        new = DecisionCreate(digest=digest or gate.digest, verdict=verdict, reason="looked at it")
        return self.client(party).gates.decide(gate.id, new)

    def conclude(self, gate: GatePublic) -> GatePublic:
        return self.client("service").gates.conclude(gate.id)

    def pass_gate(self, gate: GatePublic, *parties: str, verdict: Verdict = Verdict.APPROVE) -> GatePublic:
        for party in parties:
            self.decide(gate, party, verdict)
        return self.conclude(gate)

    # Datasets and associations

    def registration(self, name: str = "cases", site: str = "north", **changes: Any) -> DatasetRegistration:
        """What a site sends of a dataset: no two names and no two sites have the same data."""
        values: dict[str, Any] = {
            "name": name,
            "title": "Cases",
            "benchmark_id": self.benchmark_id,
            "preparator_digest": self.cube("preparator").pack_digest,
            "root": digest_bytes(f"{site} {name}".encode()),
            **{part: digest_bytes(f"{site} {name} {part}".encode()) for part in ("data_root", "labels_root")},
            "metadata_root": None,
            "cases": 100,
            "statistics": {"cases": 100, "malignant": 37},
            "decision": approval("register_dataset"),
        }
        return DatasetRegistration.model_validate({**values, **changes})

    def register(self, site: str, name: str = "cases", **changes: Any) -> int:
        number = self.send(site, PayloadKind.DATASET, self.registration(name, site, **changes))
        self.registry.ids[f"dataset:{site}"] = number
        return number

    def send(self, site: str, kind: PayloadKind, payload: Any, key: str | None = None) -> int:
        body = payload.model_dump_json().encode()
        answer = self.client(f"site:{site}").send(kind, body, idempotency_key=key or f"k-{digest_bytes(body)[7:39]}")
        return int(answer["id"])

    def report(self, model: str, **changes: Any) -> Compatibility:
        values = {
            "demo_dataset_digest": self.benchmark().demo_dataset_digest,
            "model_digest": self.cube(f"{model}-cube").pack_digest,
            "metrics_digest": self.cube("metrics").pack_digest,
            "metrics": GOOD,
            "finished_at": now(),
        }
        return Compatibility.model_validate({**values, **changes})

    def ask_for_model(self, model: str, party: str = "model_owner", **changes: Any) -> AssociationPublic:
        report = changes.pop("compatibility", None) or self.report(model)
        return self.ask(
            party, AssociationKind.MODEL, self.registry.ids[f"model:{model}"], compatibility=report, **changes
        )

    def ask_for_dataset(self, site: str, party: str | None = None, **changes: Any) -> AssociationPublic:
        owner = {"north": "data_owner", "south": "other_data_owner"}[site]
        return self.ask(party or owner, AssociationKind.DATASET, self.registry.ids[f"dataset:{site}"], **changes)

    def ask(self, party: str, kind: AssociationKind, subject_id: int, **changes: Any) -> AssociationPublic:
        new = AssociationCreate(
            **{"benchmark_id": self.benchmark_id, "kind": kind, "subject_id": subject_id, **changes}
        )
        return self.client(party).associations.create(new)

    def admit(self, association: AssociationPublic, *parties: str) -> AssociationPublic:
        """Let the committee (or whom is named) approve, and conclude."""
        self.pass_gate(self.gate_of(association), *(parties or ("benchmark_owner",)))
        return self.client("benchmark_owner").associations.get(association.id)

    # Executions and results

    def execution(self, site: str, model: str) -> str:
        work = self.work(site)
        cube = next(m.cube for m in work.models if m.name == model)
        dataset = next(d for d in work.datasets if d.dataset_id == self.registry.ids[f"dataset:{site}"])
        return execution_identity(
            model=cube.pack_digest,
            parameters=cube.parameters_digest,
            additional_files=cube.additional_files_digest,
            dataset_root=dataset.root,
        )

    def event(self, site: str, model: str, **changes: Any) -> ExecutionEvent:
        values: dict[str, Any] = {
            "execution": changes.get("execution") or self.execution(site, model),
            "benchmark_id": self.benchmark_id,
            "model_id": self.registry.ids[f"model:{model}"],
            "dataset_id": self.registry.ids[f"dataset:{site}"],
            "step": "infer",
            "state": "running",
            "attempt": 1,
            "started_at": now() - timedelta(minutes=1),
        }
        return ExecutionEvent.model_validate({**values, **changes})

    def result(
        self, site: str, model: str, metrics: Mapping[str, float] = GOOD, *, isolated: bool = True, **changes: Any
    ) -> ApprovedResult:
        work, execution = self.work(site), self.execution(site, model)
        cube, dataset = work.metrics_cube, self.registry.ids[f"dataset:{site}"]
        probe = PROBE if isolated else {**PROBE, "isolation": "not_isolated", "checks": {"no_network": False}}
        values: dict[str, Any] = {
            "execution": execution,
            "score": score_identity(
                execution,  # type: ignore[arg-type]  # it comes from execution_identity
                metrics=cube.pack_digest,
                parameters=cube.parameters_digest,
                additional_files=cube.additional_files_digest,
            ),
            "benchmark_id": self.benchmark_id,
            "model_id": self.registry.ids[f"model:{model}"],
            "dataset_id": dataset,
            "model_digest": next(m.cube.pack_digest for m in work.models if m.name == model),
            "metrics_digest": cube.pack_digest,
            "dataset_root": next(d.root for d in work.datasets if d.dataset_id == dataset),
            "metrics": dict(metrics),
            "cases": self.client("service").datasets.get(dataset).cases,
            "started_at": now() - timedelta(minutes=1),
            "finished_at": now(),
            "probe": probe,
            "decision": approval("release_results"),
        }
        return ApprovedResult.model_validate({**values, **changes})

    def send_result(self, site: str, model: str, metrics: Mapping[str, float] = GOOD, **changes: Any) -> int:
        return self.send(site, PayloadKind.RESULT, self.result(site, model, metrics, **changes))

    def release(self, asks: str = "benchmark_owner", decides: str = "committee_member") -> GatePublic:
        return self.pass_gate(self.client(asks).benchmarks.release(self.benchmark_id), decides)


MakeCampaign = Callable[[str], AbstractContextManager[Campaign]]
"""`with make_campaign("opened") as campaign:`"""


def refused(status: int, match: str) -> Any:
    """Expect the registry's no, with this status and words."""
    return pytest.raises(Refused, match=match, check=lambda error: error.status == status)


def approval(gate: str, **changes: Any) -> dict[str, Any]:
    """A decision of a person at a site, as it travels."""
    return {
        "gate": gate,
        "verdict": "approve",
        "person": "Nora North <nora@north.example>",
        "decided_at": now(),
        "digest": digest_bytes(b"what was shown"),
        "reason": "fine",
        **changes,
    }


def draft(campaign: Campaign) -> None:
    """Cubes, two models and a draft whose committee has two members."""
    campaign.add_cube("preparator", CubeKind.DATA_PREPARATOR)
    campaign.add_cube("metrics", CubeKind.METRICS)
    campaign.add_model("alpha")
    campaign.add_model("beta", parameters={"depth": 3})
    campaign.upload_demo()
    campaign.create()
    campaign.join_committee("committee_member")


def opened(campaign: Campaign) -> None:
    """The benchmark is approved; each site has registered a dataset."""
    campaign.approve_benchmark()
    campaign.register("north", cases=100)
    campaign.register("south", cases=300)


def running(campaign: Campaign) -> None:
    """Both models and both datasets are in."""
    for model in ("alpha", "beta"):
        campaign.admit(campaign.ask_for_model(model))
    for site in ("north", "south"):
        campaign.admit(campaign.ask_for_dataset(site))


STAGES: Final = (draft, opened, running)
