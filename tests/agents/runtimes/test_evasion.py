"""What a cube tries in order to get past its limits, or to what is not its own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents.runtimes.process import supervisor
from agents.runtimes.process.cgroups import StepGroups
from agents.runtimes.protocol import Limits, StepOutcome, StepRequest
from api.schemas.border import ErrorClass

pytestmark = pytest.mark.anyio
Run = Callable[..., Awaitable[StepOutcome]]
LIMITS = Limits(deadline_s=120, memory_bytes=256 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)
SAY = "from pathlib import Path; say = Path('/out/predictions/x').write_text\n"


@pytest.fixture
def _no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host where this user may not make control groups."""
    monkeypatch.setattr("agents.runtimes.process.runtime.make_groups", lambda **_limits: StepGroups())


class TestOutputs:
    async def test_closing_the_log_does_not_stop_the_watch(self, run: Run) -> None:
        program = """
            import itertools, os, time
            os.close(1); os.close(2)
            for n in itertools.count():
                open(f'/out/predictions/{n}', 'wb').write(bytes(1 << 20)); time.sleep(0.02)
        """
        assert (await run(program)).error == ErrorClass.OUTPUT_TOO_LARGE

    @pytest.mark.parametrize("groups", [True, False])
    async def test_removed_files_still_count(self, run: Run, request: pytest.FixtureRequest, *, groups: bool) -> None:
        if not groups:
            request.getfixturevalue("_no_groups")
        program = """
            import os, time
            held = []
            for n in range(6):
                held.append(open('/out/predictions/x', 'wb')); held[-1].write(bytes(4 << 20)); os.remove('/out/predictions/x')
            time.sleep(600)
        """
        assert (await run(program)).error == ErrorClass.OUTPUT_TOO_LARGE

    async def test_empty_files_fill_a_disk_too(self, run: Run) -> None:
        program = "import time\nfor n in range(4000): open(f'/out/predictions/{n}', 'w').close()\ntime.sleep(600)"
        assert (await run(program)).error == ErrorClass.OUTPUT_TOO_LARGE

    async def test_too_much_at_the_very_end_counts(self, run: Run) -> None:
        outcome = await run("for n in 'ab': open(f'/out/predictions/{n}', 'wb').write(bytes(6 << 20))")
        assert outcome.error == ErrorClass.OUTPUT_TOO_LARGE
        assert outcome.exit_code is None

    async def test_folders_nested_too_deep_are_refused(self, run: Run) -> None:
        outcome = await run("import os; os.makedirs('/out/predictions/' + 'd/' * 70)")
        assert outcome.error == ErrorClass.OUTPUT_MALFORMED

    async def test_a_link_is_counted_and_not_followed(self, run: Run) -> None:
        outcome = await run("import os; os.symlink('/usr', '/out/predictions/x')")
        assert outcome.error is None


class TestMemory:
    async def test_its_peak_is_known(self, run: Run) -> None:
        outcome = await run("held = bytearray(100 << 20)\n" + SAY + "say('1')")
        assert outcome.ok, outcome.message
        assert 100 << 20 < (outcome.peak_memory_bytes or 0) < 256 << 20

    @pytest.mark.usefixtures("_no_groups")
    async def test_its_peak_is_known_without_groups(self, run: Run) -> None:
        """From the kernel's own account, however short the step is."""
        outcome = await run("held = bytearray(100 << 20)\n" + SAY + "say('1')")
        assert 100 << 20 < (outcome.peak_memory_bytes or 0) < 256 << 20

    @pytest.mark.usefixtures("_no_groups")
    async def test_it_is_watched_without_groups(self, run: Run) -> None:
        outcome = await run("import time\nheld = bytearray(b'x') * (300 << 20)\ntime.sleep(600)")
        assert outcome.error == ErrorClass.MEMORY

    @pytest.mark.usefixtures("_no_groups")
    async def test_processes_are_counted_without_groups(self, run: Run) -> None:
        program = "import os, time\nfor _ in range(20):\n    if os.fork() == 0: time.sleep(600)\ntime.sleep(600)"
        outcome = await run(program, limits=replace(LIMITS, processes=16))
        assert not outcome.ok

    async def test_address_space_is_no_way_round(self, run: Run) -> None:
        outcome = await run("import mmap; mmap.mmap(-1, 64 << 30)")
        assert outcome.error == ErrorClass.EXIT_CODE


class TestHost:
    async def test_a_step_sees_its_own_files_alone(self, run: Run, tmp_path: Path) -> None:
        program = (
            SAY + "import os, json; say(json.dumps([sorted(os.listdir(p)) for p in ('/', '/in', '/out', '/cube')]))"
        )
        assert (await run(program)).ok
        seen = json.loads((tmp_path / "out-step/x").read_text())
        top = {"cube", "dev", "etc", "in", "out", "proc", "tmp", "usr", ".old"} | _linked()
        prefix = Path(sys.base_prefix).parts[1]
        assert set(seen[0]) == top | ({prefix} if prefix != "usr" else set())
        assert seen[1:] == [["data"], ["predictions"], ["main.py"]]

    async def test_the_kernels_settings_are_out_of_reach(self, run: Run) -> None:
        """The host's root may write them by its uid alone, even without any capability."""
        outcome = await run("import os; os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)")
        assert "Read-only file system" in outcome.message

    async def test_the_hypervisor_is_out_of_reach(self, run: Run) -> None:
        """Virtual machine sockets know no network namespace."""
        outcome = await run("import socket; socket.socket(40, socket.SOCK_STREAM)")
        assert "Address family not supported" in outcome.message

    async def test_ordinary_sockets_work(self, run: Run) -> None:
        outcome = await run(
            "import socket; socket.socketpair(); socket.socket(); socket.socket(socket.AF_INET6)\n" + SAY + "say('1')"
        )
        assert outcome.ok, outcome.message

    async def test_no_descriptor_of_the_site_is_inherited(self, run: Run) -> None:
        """A cube that held the launcher's own could say that the site is at fault."""
        program = """
            import os
            for number in range(3, 64):
                try: os.write(number, b'{"problem": "made up", "refused": true}')
                except OSError: pass
            raise SystemExit(7)
        """
        outcome = await run(program)
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, 7)

    async def test_devices_cannot_be_made(self, run: Run) -> None:
        outcome = await run("import os, stat; os.mknod('/tmp/d', 0o600 | stat.S_IFCHR, os.makedev(1, 3))")
        assert "Operation not permitted" in outcome.message

    async def test_a_cube_cannot_change_itself(self, run: Run) -> None:
        outcome = await run("open('/cube/main.py', 'a')")
        assert "Read-only file system" in outcome.message

    async def test_what_a_step_writes_is_no_program(self, run: Run) -> None:
        outcome = await run(
            """
            import os, shutil
            shutil.copy('/usr/bin/true', '/out/predictions/x'); os.chmod('/out/predictions/x', 0o700)
            os.execv('/out/predictions/x', ['x'])
            """
        )
        assert "Permission denied" in outcome.message

    @pytest.mark.parametrize("system_call", ["442", "9999"])
    async def test_what_is_mounted_below_an_input_is_read_only_too(
        self, request_for: Callable[..., StepRequest], tmp_path: Path, system_call: str
    ) -> None:
        """With and without mount_setattr, which kernels before 5.12 lack."""
        request = request_for(
            """
            from pathlib import Path
            Path('/out/predictions/seen').write_text(Path('/in/data/be löw/inside').read_text())
            Path('/in/data/be löw/new').write_text('x')
            """
        )
        (tmp_path / "data" / "be löw").mkdir()
        done = await asyncio.to_thread(_run_with_a_mount, tmp_path, system_call)
        assert "Read-only file system" in done.stdout, done.stderr
        assert (request.volumes["output_path"] / "seen").read_text() == "inside"


class TestLog:
    async def test_the_last_lines_are_in_the_message(self, run: Run) -> None:
        outcome = await run("for n in range(1000): print('line', n)\nraise SystemExit(1)")
        said = outcome.message.splitlines()[1:]
        assert said == [f"line {n}" for n in range(980, 1000)]

    async def test_a_terminal_obeys_nothing_in_it(self, run: Run) -> None:
        outcome = await run("print('\\x1b[2Jbefore\\x07after'); raise SystemExit(1)")
        assert outcome.message.endswith("[2Jbeforeafter")

    async def test_a_link_in_its_place_is_not_followed(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "_DRAIN_S", 0.1)
        (tmp_path / "log-step").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="symbolic links"):
            await run("print('x')")
        assert not (tmp_path / "elsewhere").exists()


def _linked() -> set[str]:
    return {entry for entry in ("bin", "sbin", "lib", "lib64", "lib32") if Path("/", entry).exists()}


def _run_with_a_mount(base: Path, system_call: str) -> subprocess.CompletedProcess[str]:
    """Run the prepared step from a mount namespace where something is mounted below its input."""
    launcher = base / "launcher.py"
    launcher.write_text(supervisor.LAUNCHER.read_text().replace("= 442", f"= {system_call}"))
    program = f"""
import asyncio
from pathlib import Path
from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime, supervisor
from agents.runtimes.protocol import CubeBundle, StepRequest
from cubes.contract import TaskName, parse_contract
base = Path({str(base)!r})
supervisor.LAUNCHER = base / "launcher.py"
(base / "data/be löw/inside").write_text("inside")
outcome = asyncio.run(ProcessRuntime(base / "work", EnvironmentCache(base / "e")).run(StepRequest(
    key="step", cube=CubeBundle(parse_contract((base / "contract").read_text()), "", base / "cube-step"),
    task=TaskName.INFER, volumes={{"data_path": base / "data", "output_path": base / "out-step"}}, log=base / "log")))
print(outcome.message)
"""
    script = f'mount -t tmpfs below "{base}/data/be löw" && exec {sys.executable} -c "$0"'
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        ["/usr/bin/unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
