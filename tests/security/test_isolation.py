"""The deny probe: true where steps are isolated, and awake to each protection that is missing."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime, runtime, spec
from agents.runtimes.process.cgroups import StepGroups
from api.schemas.border import Isolation

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65534
EXPECTED = {
    "runs",
    "reads_its_input",
    "writes_its_output",
    "no_loopback_of_the_host",
    "no_network",
    "no_name_resolution",
    "no_hypervisor_sockets",
    "no_foreign_files",
    "no_writing_to_inputs",
    "no_writing_to_the_root",
    "no_writing_to_programs",
    "no_kernel_settings",
    "no_other_processes",
    "no_signal_to_the_agent",
    "namespaces_of_its_own",
    "a_name_of_its_own",
    "no_descriptor_is_inherited",
    "no_capabilities",
    "no_new_privileges",
    "calls_are_filtered",
    "no_mounting",
    "no_user_namespaces",
    "no_tracing",
    "control_listener_is_reachable",
    "control_canary_is_readable",
    "control_input_is_unchanged",
}


def _runtime(tmp_path: Path, *weaken: str) -> ProcessRuntime:
    return ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "environments"), weaken=frozenset(weaken))


class TestProbe:
    def test_every_check_holds_here(self, tmp_path: Path) -> None:
        outcome = _runtime(tmp_path).probe()
        assert outcome.checks == dict.fromkeys(EXPECTED, True)
        assert outcome.isolation == Isolation.ISOLATED
        assert outcome.runtime == "process"

    def test_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        _runtime(tmp_path).probe()
        assert [path.name for path in (tmp_path / "work").rglob("*")] == ["root"]
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()

    def test_it_says_what_holds_memory_and_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here = _runtime(tmp_path)
        assert here.limits_by in {"control groups", "resource limits and a watcher"}
        monkeypatch.setattr(runtime, "make_groups", lambda **_limits: StepGroups())
        assert here.limits_by == "resource limits and a watcher"

    @pytest.mark.parametrize(
        ("weakened", "noticed"),
        [
            ("network", {"no_loopback_of_the_host", "no_network", "namespaces_of_its_own"}),
            ("processes", {"no_other_processes", "namespaces_of_its_own"}),
            ("ipc", {"namespaces_of_its_own"}),
            ("names", {"a_name_of_its_own", "namespaces_of_its_own"}),
            ("groups", {"namespaces_of_its_own"}),
            ("files", {"no_foreign_files"}),
            ("root", {"no_writing_to_the_root"}),
            ("capabilities", {"no_capabilities"}),
            ("filter", {"calls_are_filtered", "no_hypervisor_sockets", "no_tracing", "no_user_namespaces"}),
        ],
    )
    def test_a_missing_protection_is_noticed(self, tmp_path: Path, weakened: str, noticed: set[str]) -> None:
        outcome = _runtime(tmp_path, weakened).probe()
        assert outcome.isolation == Isolation.NOT_ISOLATED
        assert noticed <= {name for name, held in outcome.checks.items() if not held}

    @pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's settings belong to the host's root: run as root")
    def test_settings_that_root_could_write_are_noticed(self, tmp_path: Path) -> None:
        outcome = _runtime(tmp_path, "settings").probe()
        assert {name for name, held in outcome.checks.items() if not held} == {"no_kernel_settings"}


class TestProbeThatCannotRun:
    def test_a_missing_interpreter_is_no_isolation(self, tmp_path: Path) -> None:
        here = ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "e"), interpreter=tmp_path / "python3")
        outcome = here.probe()
        assert (outcome.isolation, outcome.checks) == (Isolation.NOT_ISOLATED, {"runs": False})

    def test_a_missing_filter_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Debian has libseccomp; a slim image may not."""

        def missing() -> bytes:
            raise OSError("libseccomp.so.2: cannot open shared object file")

        monkeypatch.setattr(spec, "filter_program", missing)
        outcome = _runtime(tmp_path).probe()
        assert outcome.checks == {"runs": False, "filter_is_available": False}

    def test_insisting_weakens_nothing_where_namespaces_work(self, tmp_path: Path) -> None:
        here = ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "e"), allow_unisolated=True)
        assert here.probe().isolation == Isolation.ISOLATED
        assert here.name == "process"


class TestOrdinaryUser:
    @pytest.fixture
    def place(self) -> Iterator[Path]:
        """A folder of that user's own; pytest's are closed to others."""
        with tempfile.TemporaryDirectory(prefix="assay-nobody-") as name:
            place = Path(name)
            for package in ("agents", "api", "cubes"):
                shutil.copytree(ROOT / package, place / "code" / package, ignore=shutil.ignore_patterns("breast_fna"))
            for path in [place, *place.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
                if os.geteuid() == 0:
                    os.chown(path, NOBODY, NOBODY)
            yield place

    def test_is_isolated_too(self, place: Path) -> None:
        """The same probe and real steps, by a user without any privilege and with the system's own Python."""
        if not _fits():
            pytest.skip("/usr/bin/python3 is of another version than this environment: run the tests as a user")
        said = _as_nobody(place)
        assert said["checks"] == dict.fromkeys(EXPECTED, True)
        assert said["by"] == "resource limits and a watcher"
        assert said["user"] != 0
        assert said["fork_bomb"] in {"memory", "deadline", "exit_code"}
        assert said["closed"] == "output_malformed"
        assert said["hidden"] == "output_too_large"


def _as_nobody(place: Path) -> dict[str, Any]:
    """Run an agent as an ordinary user, on the system's Python and this environment's packages."""
    program = """
import asyncio, json, os, sys
from pathlib import Path
import structlog
from agents.environments import EnvironmentCache
from agents.runtimes.probe import CUBE
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, Limits, StepRequest
from cubes.contract import TaskName, load_contract
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
base = Path(sys.argv[1])
runtime = ProcessRuntime(base / "work", EnvironmentCache(base / "e"), interpreter=Path("/usr/bin/python3"))
def step(key, text, **limits):
    for name in ("cube", "data", "out"): (base / key / name).mkdir(parents=True)
    (base / key / "cube" / "probe.py").write_text(text)
    (base / key / "parameters").touch()
    volumes = {"data_path": "data", "parameters_file": "parameters", "output_path": "out"}
    return asyncio.run(runtime.run(StepRequest(
        key=key, cube=CubeBundle(load_contract(CUBE), "", base / key / "cube"), task=TaskName.INFER,
        volumes={name: base / key / path for name, path in volumes.items()}, log=base / key / "log",
        limits=Limits(**limits)))).error
outcome = runtime.probe()
print(json.dumps({"checks": outcome.checks, "by": runtime.limits_by, "user": os.getuid(),
  "fork_bomb": step("bomb", "import os\\nwhile True: os.fork()", processes=64, deadline_s=5),
  "hidden": step("hidden", "import os, time; p = '/mlcommons/volumes/predictions/x'; f = open(p, 'wb'); os.remove(p); "
                 "f.write(bytes(1 << 22)); f.flush(); g = open(p, 'wb'); os.remove(p); g.write(bytes(1 << 22)); "
                 "g.flush(); time.sleep(600)", output_bytes=5 << 20, deadline_s=120),
  "closed": step("closed", "import os, time; os.makedirs('/mlcommons/volumes/predictions/x'); "
                 "os.chmod('/mlcommons/volumes/predictions/x', 0); time.sleep(600)", deadline_s=120)}))
"""
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    packages = sysconfig.get_path("purelib")
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", program, place],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{place / 'code'}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        **identity,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _fits() -> bool:
    """Whether the system's Python is there and can load this environment's packages."""
    if not SYSTEM_PYTHON.exists():
        return False
    ask = [str(SYSTEM_PYTHON), "-c", "import sys; print(sys.implementation.cache_tag)"]
    said: str = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    return said.strip() == sys.implementation.cache_tag
