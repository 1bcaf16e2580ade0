"""The deny probe: a cube that tries what no cube may do, run by the very runtime that it judges.

Positive controls make sure that a refusal means something: what the probe cannot reach from inside, the agent reaches
from outside; and what a step needs, it has.
"""

import asyncio
import json
import os
import secrets
import shutil
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agents.errors import AgentError
from agents.runtimes.protocol import CubeBundle, Limits, Runtime, RuntimeSetupError, StepRequest
from api.schemas.border import Isolation, ProbeOutcome
from cubes.contract import TaskName, load_contract
from cubes.errors import CubeError

CUBE: Final = Path(__file__).with_name("probe_cube")
_LIMITS: Final = Limits(deadline_s=30, memory_bytes=256 << 20, processes=32, output_bytes=1 << 20, log_bytes=1 << 20)
_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class ProtectionMissingError(RuntimeSetupError):
    """A protection that every step needs cannot be had on this host. `check` is its name in the probe's outcome."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def run_probe(runtime: Runtime, work: Path) -> ProbeOutcome:
    """Run the probe to its end, on an event loop of its own; a few seconds at most.

    A probe that cannot run at all is an outcome too: `runs` is false, and isolation is not given. Where the reason is
    a protection that this host lacks, that one is named and false too.
    """
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=work))
    try:
        checks = asyncio.run(_probe(runtime, folder))
    except ProtectionMissingError as error:
        checks = _failed(error) | {error.check: False}
    except (RuntimeSetupError, AgentError, CubeError, OSError, ValueError) as error:
        checks = _failed(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    held = bool(checks) and all(checks.values())
    return ProbeOutcome(
        runtime=runtime.name,
        isolation=Isolation.ISOLATED if held else Isolation.NOT_ISOLATED,
        checks=checks,
        probed_at=datetime.now(UTC),
    )


def _failed(error: Exception) -> dict[str, bool]:
    structlog.get_logger().warning("the deny probe cannot run", reason=str(error))
    return {"runs": False}


async def _probe(runtime: Runtime, folder: Path) -> dict[str, bool]:
    word = secrets.token_hex(8)
    data, output, canary = folder / "data", folder / "output", folder / "canary"
    for path in (data, output):
        path.mkdir(mode=0o700)
    (data / "input").write_text(word, encoding="utf-8")
    canary.write_text(word, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = {"listener": listener.getsockname(), "canary": str(canary), "word": word, **_this_process()}
        findings = await _run(runtime, folder, data, output, told)
        controls = {
            "control_listener_is_reachable": _reachable(listener.getsockname()),
            "control_canary_is_readable": canary.read_text(encoding="utf-8") == word,
            "control_input_is_unchanged": [path.name for path in data.iterdir()] == ["input"],
        }
    return {"runs": bool(findings), **findings, **controls}


def _this_process() -> dict[str, Any]:
    """What the probe must not meet inside."""
    return {
        "agent": os.getpid(),
        "host": socket.gethostname(),
        "namespaces": {name: str(Path("/proc/self/ns", name).readlink()) for name in _NAMESPACES},
    }


async def _run(runtime: Runtime, folder: Path, data: Path, output: Path, told: dict[str, Any]) -> dict[str, bool]:
    parameters = folder / "parameters.json"
    parameters.write_text(json.dumps(told), encoding="utf-8")
    outcome = await runtime.run(
        StepRequest(
            key=f"probe-{secrets.token_hex(4)}",
            cube=CubeBundle(contract=load_contract(CUBE), pack_digest="", folder=CUBE),
            task=TaskName.INFER,
            volumes={"data_path": data, "parameters_file": parameters, "output_path": output},
            log=folder / "log",
            limits=_LIMITS,
        )
    )
    report = output / "findings.json"
    if not outcome.ok or not report.is_file():
        structlog.get_logger().warning("the deny probe did not end well", reason=outcome.message)
        return {}
    found = {str(name): value is True for name, value in json.loads(report.read_text(encoding="utf-8")).items()}
    return {"writes_its_output": True, **found}


def _reachable(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True
