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
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from agents.errors import AgentError
from agents.runtimes.protocol import CubeBundle, Limits, Runtime, RuntimeSetupError, StepRequest
from api.schemas.border import Isolation, ProbeOutcome
from cubes.contract import TaskName, load_contract
from cubes.errors import CubeError

CUBE: Final = Path(__file__).with_name("probe_cube")
_KEY: Final = "probe-"
_LIMITS: Final = Limits(deadline_s=120, memory_bytes=256 << 20, processes=32, output_bytes=1 << 20, log_bytes=1 << 20)
_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class ProtectionMissingError(RuntimeSetupError):
    """A protection that every step needs cannot be had on this host. `check` is its name in the probe's outcome."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def is_probe(key: str) -> bool:
    """Whether a step's key is that of a probe: no attempt stands for it, and it ends by itself."""
    return key.startswith(_KEY)


class Ground(Protocol):
    """What is particular about where a runtime's steps run, and so about probing it."""

    def told(self) -> Mapping[str, Any]:
        """What the probe is told besides, or instead."""
        ...

    async def controls(self, request: StepRequest) -> dict[str, bool]:
        """Positive controls of the runtime's own, run beside the probe. `request` is the probe's, to be varied."""
        ...


@dataclass(frozen=True, slots=True)
class ThisHost:
    """Steps run on the agent's own host: what they must not meet is the agent itself."""

    def told(self) -> Mapping[str, Any]:
        return {
            "agent": os.getpid(),
            "namespaces": {name: str(Path("/proc/self/ns", name).readlink()) for name in _NAMESPACES},
        }

    async def controls(self, _request: StepRequest) -> dict[str, bool]:
        return {}


def run_probe(runtime: Runtime, work: Path, ground: Ground | None = None) -> ProbeOutcome:
    """Run the probe to its end, on an event loop of its own; a few seconds at most.

    A probe that cannot run at all is an outcome too: `runs` is false, and isolation is not given. Where the reason is
    a protection that this host lacks, that one is named and false too.
    """
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=work))
    try:
        checks = asyncio.run(_probe(runtime, folder, ground or ThisHost()))
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


async def _probe(runtime: Runtime, folder: Path, ground: Ground) -> dict[str, bool]:
    word, canary = secrets.token_hex(8), folder / "canary"
    canary.write_text(word, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = {"listener": listener.getsockname(), "canary": str(canary), "word": word, **ground.told()}
        request = probe_request(folder, told)
        findings, controls = await asyncio.gather(_run(runtime, request), ground.controls(request))
        data = request.volumes["data_path"]
        controls |= {
            "control_listener_is_reachable": _reachable(listener.getsockname()),
            "control_canary_is_readable": canary.read_text(encoding="utf-8") == word,
            "control_input_is_unchanged": [path.name for path in data.iterdir()] == ["input"],
        }
    return {"runs": bool(findings), **findings, **controls}


def probe_request(folder: Path, told: Mapping[str, Any]) -> StepRequest:
    """The probe as a step, with its files in a folder: `told` says what to try, and what is known."""
    data, output, cube, parameters = (folder / name for name in ("data", "output", "cube", "parameters.json"))
    shutil.copytree(CUBE, cube, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (data, output):
        path.mkdir(mode=0o700)
    (data / "input").write_text(str(told["word"]), encoding="utf-8")
    parameters.write_text(json.dumps(dict(told)), encoding="utf-8")
    return StepRequest(
        key=f"{_KEY}{secrets.token_hex(4)}",
        cube=CubeBundle(contract=load_contract(cube), pack_digest="", folder=cube),
        task=TaskName.INFER,
        volumes={"data_path": data, "parameters_file": parameters, "output_path": output},
        log=folder / "log",
        limits=_LIMITS,
    )


async def _run(runtime: Runtime, request: StepRequest) -> dict[str, bool]:
    outcome = await runtime.run(request)
    if not outcome.ok:
        structlog.get_logger().warning("the deny probe did not end well", reason=outcome.message)
        return {}
    return {"writes_its_output": True, **findings_of(request)}


def findings_of(request: StepRequest) -> dict[str, bool]:
    """What the probe wrote down; empty when it wrote nothing."""
    report = request.volumes["output_path"] / "findings.json"
    if not report.is_file():
        return {}
    return {str(name): value is True for name, value in json.loads(report.read_text(encoding="utf-8")).items()}


def _reachable(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True
