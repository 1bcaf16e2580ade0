"""A hospital: a site with raw data of its own, and behind its small registry the real cubes of the breast FNA benchmark.

Steps run in the real runtime. Flows' bodies run as they are; Prefect, which only waits and watches, is left out: gates are
decided on the spot by a person of the site, through the same store and the same rules.
"""

import asyncio
import inspect
import shutil
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from agents.home import SiteSettings, create_home
from agents.site import HOME_VARIABLE, Site
from agents.store import gates, jobs
from agents.store.datasets import add_dataset
from agents.store.people import add_person
from agents.store.tables import Job, JobKind, JobState, Person, Role
from api.schemas.benchmarks import Verdict
from api.schemas.cubes import CubeKind, CubeRef
from api.schemas.records import AuditHead, BenchmarkWork, DatasetWork, ModelWork, SiteWork
from cubes.contract import load_contract
from cubes.digests import digest_bytes, digest_of
from cubes.packing import pack_folder
from flows import evaluate, pipeline, prepare, release, staged
from flows.gates import Decision, GateBook, GateRejected
from tests.small_registry import TOKEN, SmallRegistry

FNA: Final = Path(__file__).parents[1] / "cubes" / "breast_fna"
_CONTRACT: Final = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 infer.py}
    resources: {cpu: 1, memory: 128Mi}
    deadline_s: 300
    input_volumes: {data_path: {mount_path: /data, type: directory}}
    output_volumes: {output_path: {mount_path: /predictions, type: directory}}
"""
_RADIUS: Final = """
import csv
with open("/data/cases.csv", newline="") as cases, open("/predictions/predictions.csv", "w") as out:
    out.write("case_id,probability\\n")
    for case in csv.DictReader(cases):
        out.write(f"{case['case_id']},{min(1, float(case['radius_mean']) / 30):.4f}\\n")
"""
Show = Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]]


@dataclass
class Hospital:
    """Make it with `hospital(...)`."""

    folder: Path
    registry: SmallRegistry
    site: Site
    raw: Path
    owner: Person
    verdict: Verdict = Verdict.APPROVE
    withheld: list[str] = field(default_factory=list)
    _packs: int = 0
    _refs: dict[str, CubeRef] = field(default_factory=dict)

    # What the registry offers.

    def cube(self, source: Path, kind: CubeKind, **parameters: Any) -> CubeRef:
        """Pack a folder, put it behind the registry, refer to it."""
        self._packs += 1
        archive = self.folder / f"pack-{self._packs}.tar"
        pack_folder(source, archive)
        return CubeRef(
            id=self._packs,
            name=source.name.replace("_", "-"),
            kind=kind,
            pack_digest=self.registry.add_blob(archive),
            additional_files_digest=None,
            parameters=parameters,
            parameters_digest=digest_of(parameters) if parameters else None,
        )

    def program(self, kind: CubeKind, contract: str, **files: str) -> CubeRef:
        """A cube of a contract and some files."""
        source = self.folder / f"source-{self._packs}"
        source.mkdir()
        for name, text in {"container_config.yaml": contract, **files}.items():
            (source / name.replace("_py", ".py")).write_text(textwrap.dedent(text))
        return self.cube(source, kind)

    def other_metrics(self, name: str) -> CubeRef:
        """The reference metrics cube with another digest: scores are outstanding again, predictions are not."""
        folder = self.folder / name
        shutil.copytree(FNA / "metrics", folder)
        (folder / "README").write_text(name)
        return self.cube(folder, CubeKind.METRICS)

    def broken_model(self, mode: str) -> CubeRef:
        """The model that misbehaves on request. Its short deadline is for what never ends: no other may meet it."""
        source = FNA / "models" / "broken"
        if mode in {"hang", "ignore_sigterm"}:
            return self.cube(source, CubeKind.MODEL, mode=mode)
        patient = shutil.copytree(source, self.folder / f"broken-{self._packs}")
        contract = patient / "container_config.yaml"
        contract.write_text(contract.read_text().replace("deadline_s: 5", "deadline_s: 300"))
        return self.cube(patient, CubeKind.MODEL, mode=mode)

    program_text = _RADIUS
    """A model of the standard library alone: the larger the radius, the more likely malignant."""

    def model(self, program: str = _RADIUS) -> CubeRef:
        return self.program(CubeKind.MODEL, _CONTRACT, infer_py=program)

    def offer(self, *models: CubeRef, metrics_cube: CubeRef | None = None) -> BenchmarkWork:
        """The benchmark with these models and with what the site has registered; the site hears of it."""
        contract = load_contract(FNA / "metrics")
        registered = [taken for taken in self.registry.taken if taken.kind == "dataset"]
        benchmark = BenchmarkWork(
            benchmark_id=1,
            name="breast-fna",
            title="Breast FNA",
            minimum_cases=1,
            metrics=list(contract.metrics),
            preparator=self.preparator,
            metrics_cube=metrics_cube or self.metrics,
            demo_dataset_digest=digest_bytes(b"demo"),
            datasets=[
                DatasetWork(
                    association_id=number,
                    dataset_id=1000 + 1 + self.registry.taken.index(taken),
                    name=taken.document["name"],
                    root=taken.document["root"],
                )
                for number, taken in enumerate(registered, start=1)
            ],
            models=[
                ModelWork(
                    association_id=100 + number,
                    model_id=number,
                    name=f"model-{number}",
                    title=cube.name,
                    organization="org",
                    cube=cube,
                    priority=0,
                )
                for number, cube in enumerate(models, start=1)
            ],
        )
        self.registry.work = SiteWork(
            site_id=1, benchmarks=[benchmark], audit_head=AuditHead(sequence=self._packs, head=f"{self._packs:04}")
        )
        self.site.border.pull_work()
        return benchmark

    @property
    def preparator(self) -> CubeRef:
        return self._shared("preparator", CubeKind.DATA_PREPARATOR)

    @property
    def metrics(self) -> CubeRef:
        return self._shared("metrics", CubeKind.METRICS)

    def _shared(self, name: str, kind: CubeKind) -> CubeRef:
        if name not in self._refs:
            self._refs[name] = self.cube(FNA / name, kind)
        return self._refs[name]

    # What the site does.

    def prepare(self, name: str = "d1") -> Job:
        """Run a `prepare` job to its end, and let go what it queued."""
        data, labels = self.raw / "data", self.raw / "labels"
        with self.site.store.write() as session:
            add_dataset(
                session,
                name=name,
                title="Dataset",
                benchmark_id=1,
                data_path=data,
                labels_path=labels,
                requested_by=self.owner.id or 0,
            )
        return self._job(JobKind.PREPARE, name, {}, prepare._prepare_dataset)

    def evaluate(self, *model_ids: int, name: str = "d1", retry_failed: bool = False) -> Job:
        parameters = {"benchmark_id": 1, "dataset": name, "models": list(model_ids), "retry_failed": retry_failed}
        return self._job(JobKind.EVALUATE, name, parameters, evaluate._evaluate)

    def release(self, *scores: int, name: str = "d1") -> Job:
        return self._job(JobKind.RELEASE, name, {"scores": list(scores)}, release._ask_and_send)

    def _job(
        self, kind: JobKind, subject: str, parameters: Mapping[str, Any], body: Callable[[Site, Job], Awaitable[None]]
    ) -> Job:
        with self.site.store.write() as session:
            job = jobs.ask(session, kind, subject=subject, parameters=dict(parameters), requested_by=None)
        state = JobState.FAILED
        try:
            asyncio.run(_within(body, self.site, job))
            state = JobState.DONE
        except GateRejected:
            state = JobState.REJECTED
        finally:
            with self.site.store.write() as session:
                outcome = jobs.find_job(session, job.id).outcome
                jobs.finish(session, job.id, state, outcome=outcome)
        with self.site.store.read() as session:
            return jobs.find_job(session, job.id)

    async def hold(
        self, book: GateBook, *, name: str, title: str, subject: str, show: Show, describe: Callable[..., str]
    ) -> Decision:
        """Decide at once what a flow asks, as the person of the site."""
        found = show()
        shown: dict[str, Any] = await found if inspect.isawaitable(found) else found
        assert describe(shown)
        gate_id = book.open_gate(name=name, title=title, subject=subject, shown=shown, flow_run_id=f"{name}-{subject}")
        with self.site.store.write() as session:
            if gates.decision_of(session, gate_id) is None:
                gates.decide(
                    session,
                    gate_id=gate_id,
                    digest=digest_of(shown),
                    verdict=self.verdict,
                    person=self.owner,
                    reason="looked at it",
                    withheld=[item for item in self.withheld if item in str(shown)],
                )
        decision = book.decision(gate_id)
        assert decision is not None
        if decision.verdict != "approve":
            raise GateRejected(decision)
        return replace(decision, shown=shown)


async def _within(body: Callable[[Site, Job], Awaitable[None]], site: Site, job: Job) -> None:
    await body(site, job)


def write_raw(folder: Path) -> Path:
    """The public demo cases as a hospital exports them."""
    shutil.copytree(FNA / "demo_dataset" / "raw", folder)
    return folder


@contextmanager
def hospital(
    folder: Path, probe: str, patch: pytest.MonkeyPatch, *, with_prefect: bool = False, **settings: Any
) -> Iterator[Hospital]:
    """A hospital in a folder.

    Args:
        folder: empty, or to be made.
        probe: the outcome of a deny probe of this host, as JSON.
        patch: undone by the caller.
        with_prefect: leave the flows as they are.
        **settings: of the site.
    """
    folder.mkdir(exist_ok=True)
    registry = SmallRegistry(SiteWork(site_id=1, benchmarks=[], audit_head=AuditHead(sequence=0, head="00")))
    registry.start()
    made = SiteSettings.model_validate({"site": "north", "registry_url": registry.url, "memory_mib": 512, **settings})
    site = Site(create_home(folder / "home", made, TOKEN).path)
    site.home.probe_file.write_text(probe)
    with site.store.write() as session:
        owner, _token = add_person(session, email="owner@north.example", name="Owner", role=Role.DATA_OWNER)
    here = Hospital(folder, registry, site, write_raw(folder / "raw"), owner)
    patch.setenv(HOME_VARIABLE, str(site.home.path))
    patch.setattr("agents.site._SITES", {site.home.path: site})
    if not with_prefect:
        without_prefect(here, patch)
    try:
        yield here
    finally:
        registry.stop()
        site.close()


def without_prefect(here: Hospital, patch: pytest.MonkeyPatch) -> None:
    """Tasks as the functions that they are, gates decided on the spot."""
    plain = {
        name: getattr(pipeline, name).fn
        for name in ("prepare", "sanity_check", "compute_statistics", "infer", "evaluate")
    }
    for module in (prepare, staged, evaluate, pipeline):
        for name, function in plain.items():
            if hasattr(module, name):
                patch.setattr(module, name, function)
    patch.setattr(evaluate, "execution", evaluate.execution.fn)
    for flow in (prepare, staged, evaluate, release):
        patch.setattr(flow, "hold", here.hold)
