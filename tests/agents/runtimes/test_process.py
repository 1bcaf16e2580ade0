"""The process runtime withstands what cubes do, says how they ended, and leaves nothing behind."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.errors import StepFailedError
from agents.runtimes.process import ProcessRuntime, safe_outputs
from agents.runtimes.process.cgroups import sweep
from agents.runtimes.protocol import Limits, RuntimeSetupError, StepOutcome, StepRequest
from api.schemas.border import ErrorClass
from tests.watching import groups_of, processes

pytestmark = pytest.mark.anyio
Run = Callable[..., Awaitable[StepOutcome]]
LIMITS = Limits(deadline_s=120, memory_bytes=256 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)
WRITE = "from pathlib import Path; Path('/out/predictions/x').write_text('1')\n"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After every step: no mount, no file below the mount point, no control group."""
    yield
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert [path.name for path in (tmp_path / "work").rglob("*")] in ([], ["root"])
    assert groups_of(os.getpid()) == []


class TestRun:
    async def test_a_program_reads_its_input_and_writes_its_output(self, run: Run, tmp_path: Path) -> None:
        outcome = await run(
            "from pathlib import Path; Path('/out/predictions/x').write_text(Path('/in/data/cases').read_text())"
        )
        assert outcome.ok, outcome.message
        assert (tmp_path / "out-step/x").read_text() == "three cases"
        assert outcome.exit_code == 0
        assert outcome.started_at <= outcome.finished_at

    async def test_outputs_belong_to_whoever_runs_the_agent(self, run: Run, tmp_path: Path) -> None:
        await run(WRITE)
        assert (tmp_path / "out-step/x").stat().st_uid == os.getuid()

    async def test_the_environment_is_the_contracts_alone(self, run: Run, tmp_path: Path) -> None:
        os.environ["ASSAY_TEST_SECRET"] = "do not pass on"
        try:
            await run("import os, json; json.dump(dict(os.environ), open('/out/predictions/x', 'w'))")
        finally:
            del os.environ["ASSAY_TEST_SECRET"]
        seen = json.loads((tmp_path / "out-step/x").read_text())
        assert seen["GREETING"] == "hello"
        assert seen["HOME"] == "/tmp"  # noqa: S108 - the step's own
        assert "ASSAY_TEST_SECRET" not in seen

    async def test_threads_and_subprocesses_work(self, run: Run) -> None:
        outcome = await run(
            """
            import subprocess, sys, threading, multiprocessing
            from pathlib import Path
            t = threading.Thread(target=lambda: None); t.start(); t.join()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            with multiprocessing.Pool(2) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]
            Path('/out/predictions/x').write_text('1')
            """
        )
        assert outcome.ok, outcome.message

    async def test_many_at_once(self, run: Run, tmp_path: Path) -> None:
        outcomes = await asyncio.gather(*(run(WRITE, key=f"step{number}") for number in range(8)))
        assert all(outcome.ok for outcome in outcomes)
        assert _written(tmp_path) == 8

    async def test_the_log_is_kept(self, run: Run, tmp_path: Path) -> None:
        await run("import sys; print('to stdout'); print('to stderr', file=sys.stderr)\n" + WRITE)
        assert sorted((tmp_path / "log-step").read_text().splitlines()) == ["to stderr", "to stdout"]


class TestFail:
    @pytest.mark.parametrize(
        ("program", "code", "said"),
        [
            ("raise SystemExit(3)", 3, "exited with 3"),
            ("print('the reason'); 1 / 0", 1, "ZeroDivisionError"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "exited with 139"),
            ("import signal; signal.alarm(1); signal.pause()", 142, "exited with 142"),
        ],
    )
    async def test_an_exit_code_is_passed_on(self, run: Run, program: str, code: int, said: str) -> None:
        outcome = await run(program)
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, code)
        assert said in outcome.message
        assert not outcome.ok

    async def test_a_deadline_is_wall_clock_time(self, run: Run) -> None:
        outcome = await run(
            "while True: print('busy', flush=True)", limits=replace(LIMITS, deadline_s=0.7, log_bytes=1 << 30)
        )
        assert outcome.error == ErrorClass.DEADLINE
        assert outcome.exit_code is None

    async def test_sigterm_is_no_defence_and_daemons_end_too(self, run: Run) -> None:
        program = """
            import os, signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)  # daemon-mark-77"])
            time.sleep(600)
        """
        outcome = await run(program, limits=replace(LIMITS, deadline_s=1.0))
        assert outcome.error == ErrorClass.DEADLINE
        assert processes("daemon-mark-77") == []

    async def test_nothing_written_is_said(self, run: Run) -> None:
        outcome = await run("print('done')")
        assert outcome.error == ErrorClass.OUTPUT_MISSING
        assert "'output_path'" in outcome.message

    async def test_a_flooded_log_ends_the_step_and_fills_no_disk(self, run: Run, tmp_path: Path) -> None:
        outcome = await run("import os\nfor _ in range(1 << 14): os.write(1, b'x' * 65536)")
        assert outcome.error == ErrorClass.LOG_TOO_LARGE
        assert (tmp_path / "log-step").stat().st_size <= LIMITS.log_bytes

    async def test_too_much_memory(self, run: Run) -> None:
        outcome = await run("held = []\nwhile True: held.append(bytearray(16 << 20))")
        assert outcome.error == ErrorClass.MEMORY, outcome.message

    async def test_a_fork_bomb_stays_small(self, run: Run) -> None:
        program = """
            import os, time
            for _ in range(12):
                try: os.fork()
                except OSError: pass
            time.sleep(600)
        """
        outcome = await run(program, limits=replace(LIMITS, deadline_s=2.0))
        assert outcome.error in {ErrorClass.DEADLINE, ErrorClass.MEMORY}

    async def test_one_huge_file(self, run: Run, tmp_path: Path) -> None:
        outcome = await run("f = open('/out/predictions/x', 'wb')\nwhile True: f.write(bytes(1 << 20))")
        assert not outcome.ok
        assert (tmp_path / "out-step/x").stat().st_size <= LIMITS.output_bytes

    async def test_many_files(self, run: Run) -> None:
        program = """
            import itertools, time
            for n in itertools.count():
                open(f'/out/predictions/{n}', 'wb').write(bytes(1 << 20)); time.sleep(0.02)
        """
        assert (await run(program)).error == ErrorClass.OUTPUT_TOO_LARGE

    async def test_a_program_that_is_not_there(
        self, runtime: ProcessRuntime, request_for: Callable[..., StepRequest]
    ) -> None:
        request = request_for("")
        (request.cube.folder / "main.py").unlink()
        outcome = await runtime.run(request)
        assert outcome.error == ErrorClass.EXIT_CODE


class TestRefuse:
    async def test_volumes_that_the_contract_does_not_name(
        self, runtime: ProcessRuntime, request_for: Callable[..., StepRequest], tmp_path: Path
    ) -> None:
        """Labels do not slip into `infer`, whoever asks."""
        request = request_for(WRITE)
        (tmp_path / "labels").mkdir()
        with pytest.raises(RuntimeSetupError, match="labels_path"):
            await runtime.run(replace(request, volumes={**request.volumes, "labels_path": tmp_path / "labels"}))

    async def test_an_input_that_does_not_exist(
        self, runtime: ProcessRuntime, request_for: Callable[..., StepRequest], tmp_path: Path
    ) -> None:
        request = request_for(WRITE)
        with pytest.raises(RuntimeSetupError, match="is no directory"):
            await runtime.run(replace(request, volumes={**request.volumes, "data_path": tmp_path / "nowhere"}))


class TestCancel:
    async def test_cancelling_ends_everything(self, run: Run) -> None:
        program = """
            import os, subprocess, sys
            if os.fork() == 0:
                os.setsid()
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600)  # cancel-mark-78"])
        """
        task = asyncio.ensure_future(run(program))
        await _until(lambda: len(processes("cancel-mark-78")) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert processes("cancel-mark-78") == []

    async def test_killing_the_agent_ends_its_steps(
        self, request_for: Callable[..., StepRequest], tmp_path: Path
    ) -> None:
        """Even those that left their session; the next agent removes the groups."""
        request_for(
            """
            import os, subprocess, sys
            os.setsid() if os.fork() == 0 else None
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600) # kill-mark-79"])
            """
        )
        agent = _agent(tmp_path)
        await _until(lambda: len(processes("time.sleep(600) # kill-mark-79")) == 2)
        agent.kill()
        agent.wait()
        await _until(lambda: processes("time.sleep(600) # kill-mark-79") == [])
        await _until(lambda: _swept(agent.pid))


def _agent(base: Path) -> subprocess.Popen[bytes]:
    """An agent of its own that runs the step which `request_for` prepared."""
    program = f"""
import asyncio
from pathlib import Path
from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, StepRequest
from cubes.contract import TaskName, parse_contract
base = Path({str(base)!r})
contract = parse_contract({(base / "contract").read_text()!r})
asyncio.run(ProcessRuntime(base / "work", EnvironmentCache(base / "e")).run(StepRequest(
    key="orphan", cube=CubeBundle(contract, "", base / "cube-step"), task=TaskName.INFER,
    volumes={{"data_path": base / "data", "output_path": base / "out-step"}}, log=base / "log")))
"""
    root = str(Path(__file__).parents[3])
    return subprocess.Popen([sys.executable, "-c", program], cwd=root, env={**os.environ, "PYTHONPATH": root})


def _swept(agent: int) -> bool:
    sweep()
    return groups_of(agent) == []


class TestOutputs:
    @pytest.mark.parametrize(
        "program",
        [
            "import os; os.symlink('/etc/passwd', '/out/predictions/x')",
            "import os; os.symlink('/', '/out/predictions/x')",
            "import os; os.makedirs('/out/predictions/a/b'); os.symlink('/in/data', '/out/predictions/a/b/c')",
            "import os; os.mkfifo('/out/predictions/x')",
            "import socket; socket.socket(socket.AF_UNIX).bind('/out/predictions/x')",
        ],
    )
    async def test_what_is_not_a_file_is_refused(self, run: Run, tmp_path: Path, program: str) -> None:
        await run(program)
        with pytest.raises(StepFailedError, match="neither a file nor a folder") as caught:
            safe_outputs(tmp_path / "out-step")
        assert caught.value.error_class == ErrorClass.OUTPUT_MALFORMED

    async def test_unreadable_modes_are_put_right(self, run: Run, tmp_path: Path) -> None:
        await run(WRITE + "import os; os.chmod('/out/predictions/x', 0)")
        safe_outputs(tmp_path / "out-step")
        assert (tmp_path / "out-step/x").stat().st_mode & 0o777 == 0o600


def _written(base: Path) -> int:
    return len(list(base.glob("out-step*/x")))


async def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "did not happen in 60 s"
        await asyncio.sleep(0.05)
