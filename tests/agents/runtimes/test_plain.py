"""Where a kernel refuses namespaces: no step at all, or plain processes that say so, if the operator insists."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.runtimes.protocol import StepRequest

ROOT = Path(__file__).parents[3]
AGENT = """
import asyncio, json, sys
from dataclasses import replace
from pathlib import Path
import structlog
from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, Limits, RuntimeSetupError, StepRequest
from cubes.contract import TaskName, parse_contract
base, how = Path(sys.argv[1]), json.loads(sys.argv[2])
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
runtime = ProcessRuntime(base / "work", EnvironmentCache(base / "e"), allow_unisolated=how["allow"])
probe = runtime.probe() if how["probe"] else None
request = StepRequest(
    key="step", cube=CubeBundle(parse_contract((base / "contract").read_text()), "", base / "cube-step"),
    task=TaskName.INFER, volumes={"data_path": base / "data", "output_path": base / "out-step"}, log=base / "log",
    limits=Limits(deadline_s=how["deadline"], memory_bytes=256 << 20, output_bytes=8 << 20, log_bytes=1 << 20))
try:
    outcome = asyncio.run(runtime.run(request))
    said = {"error": outcome.error, "code": outcome.exit_code, "message": outcome.message}
except RuntimeSetupError as error:
    said = {"refused": str(error)}
print(json.dumps({**said, "name": runtime.name, "probe": probe and probe.model_dump(mode="json"),
    "left": [path.name for path in (base / "work").rglob("*")]}))
"""
Agent = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def agent(request_for: Callable[..., StepRequest], tmp_path: Path) -> Agent:
    """An agent in a user namespace where the kernel lets nobody make another; its answer and what it logged."""

    def run(
        program: str, *, allow: bool = True, probe: bool = True, deadline: float = 30
    ) -> tuple[dict[str, Any], str]:
        request_for(program)
        contract = (tmp_path / "contract").read_text()
        contract = contract.replace("{GREETING: hello}", "{DATA: /in/data, OUT: /out/predictions}")
        (tmp_path / "contract").write_text(contract)
        forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
        how = json.dumps({"allow": allow, "probe": probe, "deadline": deadline})
        done = subprocess.run(
            ["/usr/bin/unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", sys.executable, "-c", AGENT,
             str(tmp_path), how],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer, done.stderr

    return run


WRITE = "import os; open(os.environ['OUT'] + '/x', 'w').write(open(os.environ['DATA'] + '/cases').read())"


def _processes(mark: str) -> list[str]:
    return [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and mark.encode() in _command(entry) and b"unshare" not in _command(entry)
    ]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


class TestRefuse:
    def test_no_step_runs_and_the_probe_says_why(self, agent: Agent, tmp_path: Path) -> None:
        answer, _ = agent(WRITE, allow=False)
        assert "allow unprivileged user namespaces" in answer["refused"]
        assert answer["name"] == "process"
        assert answer["probe"]["isolation"] == "not_isolated"
        assert answer["probe"]["checks"] == {"runs": False, "namespaces_are_allowed": False}
        assert not (tmp_path / "out-step/x").exists()

    def test_insisting_is_not_enough_before_a_probe_has_said_so(self, agent: Agent) -> None:
        """A step is never less isolated than the outcome that will stand on its result."""
        answer, _ = agent(WRITE, probe=False)
        assert "refused" in answer


class TestInsist:
    def test_steps_run_and_everything_says_that_they_are_not_isolated(self, agent: Agent, tmp_path: Path) -> None:
        answer, log = agent(WRITE)
        assert answer["error"] is None, answer["message"]
        assert (tmp_path / "out-step/x").read_text() == "three cases"
        assert answer["name"] == answer["probe"]["runtime"] == "unisolatedprocess"
        assert answer["probe"]["isolation"] == "not_isolated"
        assert "INSECURE: STEPS ARE NOT ISOLATED" in log
        assert answer["left"] == ["root"]

    @pytest.mark.parametrize(
        ("program", "error"),
        [
            ("raise SystemExit(3)", "exit_code"),
            ("while True: print('x' * 65536)", "log_too_large"),
            ("held = []\nwhile True: held.append(bytearray(16 << 20))", "memory"),
            (
                "import os\nfor n in range(9): open(os.environ['OUT'] + f'/{n}', 'wb').write(bytes(1 << 20))",
                "output_too_large",
            ),
            ("pass", "output_missing"),
        ],
    )
    def test_limits_that_need_no_namespace_hold(self, agent: Agent, program: str, error: str) -> None:
        assert agent(program)[0]["error"] == error

    def test_daemons_end_with_the_step(self, agent: Agent) -> None:
        program = """
            import os, signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)  # plain-daemon-mark"])
            time.sleep(600)
        """
        answer, _ = agent(program, deadline=1.0)
        assert answer["error"] == "deadline"
        assert _processes("plain-daemon-mark") == []

    def test_secrets_of_the_agent_are_not_in_its_environment(self, agent: Agent, tmp_path: Path) -> None:
        answer, _ = agent("import os; open(os.environ['OUT'] + '/x', 'w').write(' '.join(sorted(os.environ)))")
        assert answer["error"] is None
        names = set((tmp_path / "out-step/x").read_text().split())
        assert "PYTHONPATH" not in names
        assert {"DATA", "OUT", "HOME", "PATH"} < names
