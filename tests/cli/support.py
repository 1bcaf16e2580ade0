"""A way to speak of a command's end, and a site with people, jobs and questions."""

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.home import Home, SiteSettings, create_home
from agents.store import Store, gates, jobs
from agents.store.executions import save_score
from agents.store.people import add_person
from agents.store.tables import Gate, Job, JobKind, Role, Score
from api.schemas.border import Isolation, ProbeOutcome
from api.schemas.cubes import CubeKind, CubeRef
from api.schemas.records import AuditHead, BenchmarkWork, DatasetWork, ModelWork, SiteWork
from api.storage.columns import now
from cli.main import main
from cubes.digests import digest_bytes
from cubes.metrics import MetricSchema

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Assay = Callable[..., Ended]


def type_command(*words: str | Path, stdin: str = "") -> Ended:
    """Type a command, through the entry point; what it changes in the environment is changed back."""
    out, err = io.StringIO(), io.StringIO()
    before = dict(os.environ)
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["assay", *map(str, words)])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return Ended(code, out.getvalue(), err.getvalue())


def run_task(assay: Assay, cube: Path, task: str, output: Path, *options: str, **inputs: Path) -> Ended:
    """Run one task of a cube by hand; it has to succeed."""
    words = [word for name, path in inputs.items() for word in ("--input", f"{name}={path}")]
    ended = assay("cube", "test", cube, task, *options, "--output", output, *words)
    assert ended.code == 0, ended.err
    return ended


def sha(seed: str) -> str:
    return digest_bytes(seed.encode())


class Here:
    """A site on this machine: its store, and its people with their tokens."""

    def __init__(self, path: Path, registry_url: str = "http://127.0.0.1:9") -> None:
        self.home: Home = create_home(path, SiteSettings(site="north", registry_url=registry_url), "assay_secret")
        self.store = Store(self.home.store_file)
        self.tokens: dict[Role, str] = {}
        self.ids: dict[Role, int] = {}
        with self.store.write() as session:
            for role in Role:
                person, secret = add_person(
                    session, email=f"{role.value}@north.example", name=role.value.title(), role=role
                )
                self.tokens[role], self.ids[role] = secret, person.id or 0

    def tell(self, *models: str) -> SiteWork:
        """What the registry last asked: one benchmark, one dataset, models of these names."""

        def ref(name: str, kind: CubeKind) -> CubeRef:
            return CubeRef(
                id=1,
                name=name,
                kind=kind,
                pack_digest=sha(name),
                additional_files_digest=None,
                parameters={},
                parameters_digest=None,
            )

        work = SiteWork(
            site_id=1,
            benchmarks=[
                BenchmarkWork(
                    benchmark_id=4,
                    name="breast-fna",
                    title="Breast FNA",
                    minimum_cases=1,
                    metrics=[MetricSchema(name="auroc")],
                    preparator=ref("preparator", CubeKind.DATA_PREPARATOR),
                    metrics_cube=ref("metrics", CubeKind.METRICS),
                    demo_dataset_digest=sha("demo"),
                    datasets=[DatasetWork(association_id=1, dataset_id=7, name="north-fna", root=sha("root"))],
                    models=[
                        ModelWork(
                            association_id=10 + number,
                            model_id=number,
                            name=name,
                            title=name.title(),
                            organization="org",
                            cube=ref(name, CubeKind.MODEL),
                            priority=0,
                        )
                        for number, name in enumerate(models, 1)
                    ],
                )
            ],
            audit_head=AuditHead(sequence=1, head="0" * 64),
        )
        self.home.work_file.write_text(work.model_dump_json(), encoding="utf-8")
        return work

    def job(
        self, kind: JobKind = JobKind.PREPARE, subject: str = "north-fna", run: str | None = "run-1", **parameters: Any
    ) -> Job:
        with self.store.write() as session:
            job = jobs.ask(session, kind, subject=subject, parameters=parameters, requested_by=None, only_one=False)
            if run is not None:
                jobs.mark_started(session, job.id, run)
        return job

    def gate(self, shown: dict[str, Any], *, title: str = "Go ahead?", run: str = "run-1") -> Gate:
        """A question at which a flow run rests."""
        with self.store.write() as session:
            gate = gates.open_gate(
                session, name="some_gate", title=title, subject="north-fna", shown=shown, flow_run_id=run
            )
            gates.mark_waiting(session, gate.id)
        return gate

    def score(self, model: str, number: int, **metrics: float | str) -> Score:
        probe = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"network": True}, probed_at=now())
        score = Score(
            identity=sha(f"score {model}"),
            execution=sha(f"execution {model}"),
            benchmark_id=4,
            model_id=number,
            model_name=model,
            model_digest=sha(model),
            metrics_digest=sha("metrics"),
            dataset_id=7,
            dataset_name="north-fna",
            dataset_root=sha("root"),
            cases=120,
            metrics=dict(metrics),
            probe=probe.model_dump(mode="json"),
            started_at=now(),
            finished_at=now(),
        )
        with self.store.write() as session:
            return save_score(session, score)
