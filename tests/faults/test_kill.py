"""An agent dies by kill -9 in the middle of a step: nothing of the step stays, and the next run finishes."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from agents.errors import AgentError
from agents.housekeeping import Housekeeping
from agents.runtimes.process.cgroups import sweep
from agents.store.datasets import find_dataset
from agents.store.executions import list_executions, scores_in
from agents.store.jobs import find_job, finish, live_jobs
from agents.store.tables import DatasetState, JobState, ScoreState
from api.schemas.border import ErrorClass, ExecutionState, Step
from api.schemas.cubes import CubeKind, CubeRef
from cubes.contract import load_contract
from flows import prepare
from tests.hospital import FNA, Hospital
from tests.watching import found, groups_of, processes

ROOT: Final = Path(__file__).parents[2]
RUN: Final = uuid4().hex[:8]
"""Part of each program's name: the same test may run a second time on this host."""
pytestmark = pytest.mark.slow

# What the reference programs do, after they have said that they run and waited for a file of the host's to go away.
WAIT: Final = """
import pathlib, time
pathlib.Path({started!r}).write_text("")
while pathlib.Path({hold!r}).exists():
    time.sleep(0.02)
pathlib.Path({started!r}).unlink()
"""


def _until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def _mark(program: str) -> str:
    return f"slow_{RUN}_{program}"


def _slow(here: Hospital, source: Path, program: str, kind: CubeKind, *, reads: str, writes: str) -> CubeRef:
    """A copy of a reference cube that waits, under a program name of its own, while `hold` is among what it reads."""
    mark = _mark(program)
    files = {path.name: path.read_text() for path in source.glob("*.py")}
    files["container_config.yaml"] = (source / "container_config.yaml").read_text().replace(program, mark)
    wait = WAIT.format(started=f"{writes}/started", hold=f"{reads}/hold")
    files[mark] = wait + files.pop(program).replace('if __name__ == "__main__":', "if True:")
    folder = here.folder / f"slow-{kind.value.replace('_', '-')}"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert load_contract(folder)
    return here.cube(folder, kind)


def _killed_in_the_middle(here: Hospital, kind: str, mark: str) -> None:
    """Start an agent's job in a process of its own, and end that process while the step runs."""
    agent = subprocess.Popen([sys.executable, "-m", "tests.faults.dying_agent", str(here.folder), kind], cwd=ROOT)
    attempts = here.site.home.path / "attempts"
    _until(lambda: agent.poll() is not None or found(attempts, "*/*/started"), "the step's first line")
    assert agent.poll() is None, "the agent ended before the step began"
    assert processes(mark)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    _until(lambda: not processes(mark), "the step's end")
    assert str(here.folder) not in Path("/proc/self/mounts").read_text()
    _until(lambda: _swept(agent.pid), "its control groups to be swept")


def _swept(agent: int) -> bool:
    """A process that has ended counts in its group until somebody has fetched its exit code."""
    sweep()
    return groups_of(agent) == []


def _lost(here: Hospital) -> None:
    """What the local loop finds out: the flow run of the job that was under way is gone."""
    with here.site.store.write() as session:
        for job in live_jobs(session):
            finish(session, job.id, JobState.FAILED, message="its flow run ended as Crashed")


class TestPrepare:
    def test_it_is_swept_and_done_again(self, here: Hospital) -> None:
        source = FNA / "preparator"
        slow = _slow(
            here, source, "prepare.py", CubeKind.DATA_PREPARATOR,
            reads="/mlcommons/volumes/raw_data", writes="/mlcommons/volumes/data",
        )  # fmt: skip
        here._refs["preparator"] = slow
        here.offer()
        (here.raw / "data" / "hold").write_text("")
        _killed_in_the_middle(here, "prepare", _mark("prepare.py"))
        _lost(here)
        with here.site.store.write() as session:
            find_dataset(session, "d1").state = DatasetState.FAILED
        (here.raw / "data" / "hold").unlink()
        here.prepare()
        with here.site.store.read() as session:
            assert find_dataset(session, "d1").state == DatasetState.PREPARED
        Housekeeping(here.site).tidy()
        assert list(here.site.home.folder("attempts").glob("*/")) == []

    def test_what_was_registered_meanwhile_stays_registered(self, here: Hospital) -> None:
        """An agent dies after the registration was queued, and its flow starts again where the raw data have gone."""
        job = here.prepare()
        here.site.border.flush()
        shutil.rmtree(here.raw)
        with here.site.store.write() as session:
            find_job(session, job.id).state = JobState.RUNNING
        with pytest.raises(AgentError):
            asyncio.run(prepare._prepare_dataset(here.site, job))
        with here.site.store.read() as session:
            assert find_dataset(session, "d1").state == DatasetState.REGISTERED


HANGING_PROGRAM: Final = f"hanging_{RUN}.py"
HANGING: Final = f"""
container_type: Folder
tasks:
  infer:
    run_args: {{command: python3 {HANGING_PROGRAM}}}
    deadline_s: 15
    input_volumes: {{data_path: {{mount_path: /data, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: /predictions, type: directory}}}}
"""
HANG: Final = "import pathlib, time; pathlib.Path('/predictions/started').write_text(''); time.sleep(3600)"


class TestInfer:
    """The model hangs until its deadline; the agent dies before."""

    @pytest.fixture
    def killed(self, registered: Hospital) -> Hospital:
        registered.offer(registered.program(CubeKind.MODEL, HANGING, **{HANGING_PROGRAM: HANG}))
        _killed_in_the_middle(registered, "evaluate", HANGING_PROGRAM)
        with registered.site.store.read() as session:
            assert [each.state for each in list_executions(session)] == [ExecutionState.RUNNING]
        assert len(list(registered.site.home.folder("attempts").glob("*/"))) == 1
        _lost(registered)
        return registered

    def test_nothing_stays_and_another_model_runs(self, killed: Hospital) -> None:
        Housekeeping(killed.site).tidy()
        assert list(killed.site.home.folder("attempts").glob("*/")) == []
        killed.offer(killed.model())
        assert killed.evaluate(1).outcome["failed"] == []

    def test_a_run_of_the_same_clears_the_attempt_away(self, killed: Hospital) -> None:
        assert killed.evaluate(1).outcome["failed"] == ["model-1"]
        with killed.site.store.read() as session:
            (execution,) = list_executions(session)
        assert (execution.attempt, execution.error_class) == (2, ErrorClass.DEADLINE)
        assert list(killed.site.home.folder("attempts").glob("*/")) == []


class TestEvaluate:
    def test_predictions_are_kept_and_not_made_again(self, registered: Hospital) -> None:
        """The metrics cube waits for a file among the predictions, which the model leaves there."""
        metrics = _slow(
            registered, FNA / "metrics", "evaluate.py", CubeKind.METRICS,
            reads="/mlcommons/volumes/predictions", writes="/mlcommons/volumes/local_outputs",
        )  # fmt: skip
        model = registered.model(registered.program_text + "\nopen('/predictions/hold', 'w').write('')\n")
        registered.offer(model, metrics_cube=metrics)
        _killed_in_the_middle(registered, "evaluate", _mark("evaluate.py"))
        with registered.site.store.read() as session:
            (execution,) = list_executions(session)
            assert (execution.step, execution.state) == (Step.EVALUATE, ExecutionState.RUNNING)
        _lost(registered)
        before = [path.stat().st_mtime_ns for path in registered.site.home.path.glob("executions/*/predictions/*.csv")]
        registered.offer(model)  # the reference metrics cube: it does not wait
        assert registered.evaluate(1).outcome == {"ran": 1, "reused": 0, "withheld": 0, "failed": []}
        after = [path.stat().st_mtime_ns for path in registered.site.home.path.glob("executions/*/predictions/*.csv")]
        assert after == before
        with registered.site.store.read() as session:
            assert len(scores_in(session, ScoreState.NEW)) == 1
        Housekeeping(registered.site).tidy()
        assert list(registered.site.home.folder("attempts").glob("*/")) == []
