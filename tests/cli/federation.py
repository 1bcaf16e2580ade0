"""A registry that really listens, with people of every role, one benchmark under way, and a site that sends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from agents.planner import units
from api.app import create_app
from api.bootstrap import ServiceToken, initialise
from api.client import RegistryClient
from api.core.settings import RegistrySettings
from api.schemas.benchmarks import (
    AssociationCreate,
    AssociationKind,
    BenchmarkCreate,
    CommitteeMember,
    Compatibility,
    DecisionCreate,
    GatePublic,
    Verdict,
)
from api.schemas.border import (
    ApprovedResult,
    DatasetRegistration,
    Isolation,
    PayloadKind,
    ProbeOutcome,
    SiteDecision,
)
from api.schemas.cubes import CubeCreate, CubePublic, ModelCreate, ModelPublic
from api.schemas.people import (
    InvitationCreate,
    OrganizationCreate,
    Redemption,
    SiteCreate,
    TokenCreate,
    UserCreate,
)
from api.storage.columns import now
from cli.files import read_mapping
from cubes.digests import canonical
from cubes.packing import pack_folder
from tests.cli.support import ROOT, sha

FNA = ROOT / "cubes" / "breast_fna"
PEOPLE = {"ada": "university", "bob": "university", "mel": "company", "dan": "north", "eve": "elsewhere"}
"""Ada and Bob are the committee, Mel owns models, Dan's hospital owns a dataset, Eve is on her own."""


@dataclass
class Federation:
    """Where the registry listens, and who has which token."""

    url: str
    settings: RegistrySettings
    tokens: dict[str, str]
    ids: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def client(self, who: str) -> Iterator[RegistryClient]:
        with RegistryClient(self.url, self.tokens[who]) as client:
            yield client

    def decide(self, gate: GatePublic, *people: str, verdict: Verdict = Verdict.APPROVE) -> None:
        """Let people decide, and the registry's own service conclude, as its review flow does."""
        for who in people:
            with self.client(who) as client:
                client.gates.decide(gate.id, DecisionCreate(digest=gate.digest, verdict=verdict, reason="seen"))
        with RegistryClient(self.url, ServiceToken(self.settings)()) as service:
            service.gates.refresh(gate.id)
            service.gates.conclude(gate.id)

    def gate_of(self, who: str, **filters: Any) -> GatePublic:
        with self.client(who) as client:
            (gate,) = client.gates.list(live=True, **filters).items
        return gate


@contextmanager
def federation(folder: Path) -> Iterator[Federation]:
    """A registry in this process that listens on a free port, with its people."""
    settings = RegistrySettings(data=folder / "registry")
    root = initialise(
        settings,
        organization=OrganizationCreate(name="host", title="The host"),
        email="root@host.example",
        name="Root",
    )
    with listening(settings) as url:
        there = Federation(url, settings, {"root": root})
        _people(there)
        _benchmark(there, folder)
        _dataset_and_results(there)
        yield there


@contextmanager
def listening(settings: RegistrySettings) -> Iterator[str]:
    """The address of a registry that listens on a free port of this host."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the registry did not start"
            thread.join(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _people(there: Federation) -> None:
    with there.client("root") as client:
        for name in sorted(set(PEOPLE.values())):
            there.ids[name] = client.organizations.create(OrganizationCreate(name=name, title=name.title())).id
        for name, organization in PEOPLE.items():
            user = client.users.create(
                UserCreate(
                    email=f"{name}@{organization}.example", name=name.title(), organization_id=there.ids[organization]
                )
            )
            there.ids[name] = user.id
            invitation = client.users.invite(user.id, InvitationCreate())
            there.tokens[name] = client.users.redeem(Redemption(secret=invitation.secret, label="first")).secret
        site = client.sites.create(SiteCreate(name="north-site", title="North", organization_id=there.ids["north"]))
        there.ids["site"] = site.id
        there.tokens["site"] = client.sites.issue_token(site.id, TokenCreate(label="agent")).secret


def _send(client: RegistryClient, folder: Path, space: Path) -> str:
    archive = space / "pack.tar"
    pack_folder(folder, archive)
    return client.blobs.upload(archive)


def _cube(
    client: RegistryClient, folder: Path, space: Path, name: str, kind: str, files: Path | None = None
) -> CubePublic:
    return client.cubes.create(
        CubeCreate.model_validate(
            {
                "name": name,
                "kind": kind,
                "pack_digest": _send(client, folder, space),
                "additional_files_digest": None if files is None else _send(client, files, space),
            }
        )
    )


def _model(client: RegistryClient, space: Path, name: str) -> ModelPublic:
    files = FNA / "models" / name.replace("-", "_") / "additional_files"
    cube = _cube(client, FNA / "models" / "sklearn", space, f"{name}-cube", "model", files)
    card = read_mapping(FNA / "cards" / f"{name.replace('-', '_')}.yaml")
    return client.models.create(ModelCreate.model_validate({**card, "cube_id": cube.id}))


def _benchmark(there: Federation, space: Path) -> None:
    """An approved benchmark of Ada's with Bob on its committee, and two models of Mel's in it."""
    with there.client("ada") as ada:
        preparator = _cube(ada, FNA / "preparator", space, "fna-preparator", "data_preparator")
        metrics = _cube(ada, FNA / "metrics", space, "fna-metrics", "metrics")
        specification = {
            **read_mapping(FNA / "benchmark.yaml"),
            "metrics": metrics.contract["metrics"],
            "preparator_cube_id": preparator.id,
            "metrics_cube_id": metrics.id,
            "demo_dataset_digest": _send(ada, FNA / "demo_dataset", space),
        }
        benchmark = ada.benchmarks.create(BenchmarkCreate.model_validate(specification))
        there.ids["benchmark"] = benchmark.id
        gate = ada.benchmarks.submit(benchmark.id)
        there.decide(gate, "root")
        ada.benchmarks.add_member(benchmark.id, CommitteeMember(user_id=there.ids["bob"]))
    with there.client("mel") as mel:
        for name in ("logistic-regression", "random-forest"):
            model = _model(mel, space, name)
            there.ids[name] = model.id
            cube = mel.cubes.get(model.cube_id)
            report = Compatibility(
                demo_dataset_digest=benchmark.demo_dataset_digest,
                model_digest=cube.pack_digest,
                metrics_digest=metrics.pack_digest,
                metrics={metric.name: 0.9 for metric in benchmark.metrics},
                finished_at=now(),
            )
            asked = mel.associations.create(
                AssociationCreate(
                    benchmark_id=benchmark.id, kind=AssociationKind.MODEL, subject_id=model.id, compatibility=report
                )
            )
            there.ids[f"association:{name}"] = asked.id
            there.decide(there.gate_of("ada", kind="association", subject_id=asked.id), "ada")


def _decision(gate: str) -> SiteDecision:
    return SiteDecision(
        gate=gate,
        person="Dan <dan@north.example>",
        decided_at=now(),
        digest=sha("shown"),
        verdict=Verdict.APPROVE,
        reason="aggregates only",
    )


def _post(site: RegistryClient, kind: PayloadKind, payload: Any, key: str) -> int:
    return int(site.send(kind, canonical(payload.model_dump(mode="json")), idempotency_key=key)["id"])


def _dataset_and_results(there: Federation) -> None:
    """A dataset of the north's, in the benchmark, with a result for each model."""
    with there.client("site") as site, there.client("ada") as ada, there.client("dan") as dan:
        benchmark = ada.benchmarks.get(there.ids["benchmark"])
        registration = DatasetRegistration(
            name="north-fna",
            title="North 2024",
            benchmark_id=benchmark.id,
            preparator_digest=ada.cubes.get(benchmark.preparator_cube_id).pack_digest,
            root=sha("root"),
            data_root=sha("data"),
            labels_root=sha("labels"),
            metadata_root=None,
            cases=120,
            statistics={"cases": 120, "malignant": 44, "features": {"radius": {"mean": 14.1, "sd": 3.5}}},
            decision=_decision("register_dataset"),
        )
        there.ids["dataset"] = _post(site, PayloadKind.DATASET, registration, "dataset-north-1")
        asked = dan.associations.create(
            AssociationCreate(benchmark_id=benchmark.id, kind=AssociationKind.DATASET, subject_id=there.ids["dataset"])
        )
        there.ids["association:dataset"] = asked.id
        there.decide(there.gate_of("bob", kind="association", subject_id=asked.id), "bob")
        (work,) = site.site_work().benchmarks
        for number, unit in enumerate(units(work, work.datasets[0])):
            result = ApprovedResult(
                execution=unit.identity,
                score=unit.score,
                benchmark_id=benchmark.id,
                model_id=unit.model.model_id,
                dataset_id=there.ids["dataset"],
                model_digest=unit.model.cube.pack_digest,
                metrics_digest=work.metrics_cube.pack_digest,
                dataset_root=unit.dataset.root,
                metrics={metric.name: 0.9 + number / 50 for metric in benchmark.metrics},
                cases=120,
                started_at=now(),
                finished_at=now(),
                probe=ProbeOutcome(
                    runtime="process", isolation=Isolation.ISOLATED, checks={"network": True}, probed_at=now()
                ),
                decision=_decision("release_results"),
            )
            _post(site, PayloadKind.RESULT, result, f"result-north-{number}")
