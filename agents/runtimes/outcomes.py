"""How a step ended, said in the same words whatever ran it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agents.runtimes.outputs import missing_output
from agents.runtimes.protocol import StepOutcome, StepRequest
from api.schemas.border import ErrorClass

_MESSAGES: Final = {
    ErrorClass.DEADLINE: "ended at its deadline of {deadline:g} s",
    ErrorClass.MEMORY: "ended for using more memory or processes than its limit ({memory} MiB, {processes} processes)",
    ErrorClass.LOG_TOO_LARGE: "ended for writing more than {log} MiB to its log",
    ErrorClass.OUTPUT_TOO_LARGE: "ended for writing more than {output} MiB of output",
    ErrorClass.OUTPUT_MALFORMED: "ended for closing a folder of its output to the site, or nesting it too deep",
}
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 8192


def step_outcome(
    request: StepRequest,
    *,
    started_at: datetime,
    exit_code: int | None,
    error: ErrorClass | None = None,
    reason: str = "",
    peak_memory_bytes: int | None = None,
) -> StepOutcome:
    """The outcome of a step that is over: an exit code other than 0 is an error, and so is an output left empty.

    Args:
        request: what was asked for.
        started_at: when the step started.
        exit_code: None when it was ended from outside, or never started.
        error: why it was ended, if it was.
        reason: the runtime's own words for it; a limit has words already.
        peak_memory_bytes: where the runtime knows it.
    """
    said = reason
    if error is not None:
        said = ": ".join(part for part in (_limit(error, request), reason) if part)
    elif exit_code != 0:
        error, said = ErrorClass.EXIT_CODE, f"exited with {exit_code}"
    else:
        missing = missing_output(request.task, request.cube.contract.tasks[request.task], request.volumes)
        if missing is not None:
            error, said = ErrorClass.OUTPUT_MISSING, f"exited with 0 but left {missing!r} empty"
    return StepOutcome(
        started_at=started_at,
        finished_at=datetime.now(UTC),
        exit_code=exit_code,
        error=error,
        message=f"{request.task.value} {said}. Last lines of its log:\n{log_tail(request.log)}" if error else "",
        peak_memory_bytes=peak_memory_bytes,
    )


def log_tail(log: Path) -> str:
    """The last lines of a log, without what a terminal would obey."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(printable(line) for line in text.splitlines()[-_TAIL_LINES:])


def printable(line: str) -> str:
    return "".join(letter for letter in line if letter.isprintable() or letter == "\t")


def _limit(error: ErrorClass, request: StepRequest) -> str:
    limits = request.limits
    return _MESSAGES.get(error, "").format(
        deadline=limits.deadline_s,
        memory=limits.memory_bytes >> 20,
        processes=limits.processes,
        log=limits.log_bytes >> 20,
        output=limits.output_bytes >> 20,
    )
