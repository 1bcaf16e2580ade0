"""Watches one step from outside: its log, its outputs, its memory, its time; ends all of it."""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.runtimes.measure import disk_use, hidden_use, tree
from agents.runtimes.process.cgroups import StepGroups
from agents.runtimes.process.errors import SurroundingsError, namespaces_refused
from agents.runtimes.protocol import Limits, RuntimeSetupError
from agents.runtimes.telling import Teller
from api.schemas.border import ErrorClass

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_CHUNK: Final = 1 << 16
_LOOK_EVERY_S: Final = 0.2
_DRAIN_S: Final = 5.0
_GRACE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A step as its supervisor knows it."""

    interpreter: Path
    """Runs the launcher; the cube's own Python is in `spec`."""
    spec: dict[str, Any]
    log: Path
    limits: Limits
    outputs: tuple[Path, ...]
    groups: StepGroups
    tell: Callable[[str], None] | None = None


@dataclass(slots=True)
class Ended:
    """How the step's process ended, and why we ended it, if we did."""

    exit_code: int | None = None
    error: ErrorClass | None = None
    peak_memory_bytes: int = 0


async def supervise(step: Watched) -> Ended:
    """Run the launcher with a specification, to its end or until a limit is reached.

    Raises:
        RuntimeSetupError: the interpreter is not there, or the step's surroundings could not be made.
        ProtectionMissingError: the kernel refused the namespaces.
    """
    ended = Ended()
    status, told = os.pipe()
    output, written = os.pipe()
    try:
        try:
            process = await _start(step, told, written)
        finally:
            os.close(told)
            os.close(written)
        try:
            await _watch(process, output, step, ended)
        finally:
            await _end(process)
        _read_status(status, ended)
    finally:
        os.close(status)
        os.close(output)
    _judge(step, ended)
    return ended


async def _start(step: Watched, told: int, written: int) -> asyncio.subprocess.Process:
    with tempfile.TemporaryFile() as spec:
        spec.write(json.dumps(step.spec).encode())
        spec.seek(0)
        try:
            return await asyncio.create_subprocess_exec(
                str(step.interpreter),
                *("-I", "-S", str(LAUNCHER), str(told)),
                stdin=spec,
                stdout=written,
                stderr=written,
                pass_fds=(told,),
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            )
        except OSError as error:
            raise RuntimeSetupError(
                f"the interpreter {str(step.interpreter)!r} cannot be started ({error.strerror}): name another one"
            ) from error


async def _watch(process: asyncio.subprocess.Process, output: int, step: Watched, ended: Ended) -> None:
    """Until the process is over or has passed a limit; the log is copied to its end."""
    exiting = asyncio.create_task(process.wait())
    copying = asyncio.create_task(_copy_log(output, step, ended))
    looking = asyncio.create_task(_look(process.pid, step, ended))
    waiting: set[asyncio.Task[Any]] = {exiting, copying, looking}
    try:
        async with asyncio.timeout(step.limits.deadline_s):
            while not exiting.done() and ended.error is None:
                # A cube may close its log and go on: the end of the log is not the end of the step.
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        if ended.error is None:
            ended.exit_code = exiting.result()
    except TimeoutError:
        ended.error = ErrorClass.DEADLINE
    finally:
        looking.cancel()
        await _end(process)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(copying, _DRAIN_S)
        await asyncio.gather(exiting, copying, looking, return_exceptions=True)


async def _copy_log(output: int, step: Watched, ended: Ended) -> None:
    """Copy what the step writes, and stop when it is too much: the pipe then fills and the step is ended."""
    teller = Teller(step.tell)
    descriptor = os.open(step.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        left = step.limits.log_bytes
        async with _reading(output) as reader:
            while piece := await reader.read(_CHUNK):
                file.write(piece[:left])
                teller.feed(piece)
                left -= len(piece)
                if left < 0:
                    ended.error = ErrorClass.LOG_TOO_LARGE
                    return
    teller.end()


@asynccontextmanager
async def _reading(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK, loop=loop)
    # The transport closes its file; the descriptor itself stays its owner's.
    file = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    transport, _protocol = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), file)
    try:
        yield reader
    finally:
        transport.close()


async def _look(pid: int, step: Watched, ended: Ended) -> None:
    """Look again and again at what no limit of the kernel covers; return when one is passed."""
    while ended.error is None:
        await asyncio.sleep(_LOOK_EVERY_S)
        ended.error = await asyncio.to_thread(_passed, pid, step, ended)


def _passed(pid: int, step: Watched, ended: Ended) -> ErrorClass | None:
    """The limit that a step has passed by now."""
    pids = step.groups.members()
    if not step.groups.folders:
        members = tree(pid)
        pids = set(members)
        memory = sum(members.values())
        ended.peak_memory_bytes = max(ended.peak_memory_bytes, memory)
        if memory > step.limits.memory_bytes or len(members) > step.limits.processes:
            return ErrorClass.MEMORY
    return _outputs_passed(step, hidden_use(pids, step.outputs))


def _outputs_passed(step: Watched, hidden: int) -> ErrorClass | None:
    use = disk_use(step.outputs)
    if use.closed:
        return ErrorClass.OUTPUT_MALFORMED
    # The folders themselves are the site's.
    allowed = step.limits.output_bytes + 4096 * len(step.outputs)
    return ErrorClass.OUTPUT_TOO_LARGE if use.size + hidden > allowed else None


def _read_status(status: int, ended: Ended) -> None:
    """What the launcher said about the step's setting up and its end."""
    os.set_blocking(status, False)
    with contextlib.suppress(BlockingIOError):
        for line in os.read(status, 1 << 16).decode(errors="replace").splitlines():
            said = json.loads(line)
            ended.peak_memory_bytes = max(ended.peak_memory_bytes, said.get("peak", 0))
            if said.get("refused"):
                raise namespaces_refused(said["problem"])
            if "problem" in said:
                raise SurroundingsError(f"a step could not be set up ({said['problem']}): nothing of it ran")


def _judge(step: Watched, ended: Ended) -> None:
    """What can be known only when all is over."""
    if step.groups.killed_for_memory():
        ended.error = ErrorClass.MEMORY
    elif ended.error is None:
        ended.error = _outputs_passed(step, 0)
    if ended.error is not None:
        ended.exit_code = None
    ended.peak_memory_bytes = max(ended.peak_memory_bytes, step.groups.peak_memory() or 0)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the launcher and with it the whole step; when this returns, none of its processes is left.

    Not interruptible: whoever cancels a step must find it ended.
    """
    if process.returncode is not None:
        return
    waiting = asyncio.ensure_future(process.wait())
    cancelled = False
    for send, patience in ((process.terminate, _GRACE_S), (process.kill, None)):
        with contextlib.suppress(ProcessLookupError):
            send()
        cancelled |= await _wait_out(waiting, patience)
        if waiting.done():
            break
    if cancelled:
        raise asyncio.CancelledError


async def _wait_out(waiting: asyncio.Future[int], patience: float | None) -> bool:
    """Wait for a process whatever happens; whether somebody asked us to stop meanwhile."""
    cancelled = False
    end = None if patience is None else asyncio.get_running_loop().time() + patience
    while not waiting.done() and (end is None or asyncio.get_running_loop().time() < end):
        try:
            await asyncio.wait({waiting}, timeout=None if end is None else end - asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
