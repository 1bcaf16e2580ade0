"""Whether a site's agent runs on this host, and how to end it."""

import fcntl
import os
import signal
import time

from agents.errors import ConflictError, NotFoundError
from agents.home import Home


def agent_process(home: Home) -> int | None:
    """The process that holds the agent's lock; None when no agent runs.

    The lock is what counts: the kernel lets go of it however a process ends, while a number in a file stays.
    """
    try:
        descriptor = os.open(home.agent_lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
        if not holder.isdigit() or not _is_there(int(holder)):
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(holder)
    else:
        return None
    finally:
        os.close(descriptor)


def stop_agent(home: Home, *, timeout_s: float) -> int:
    """Ask the agent to end, and wait until it has: it hands its steps back and forgets nothing.

    Returns:
        The process that ended.

    Raises:
        NotFoundError: no agent runs here.
        ConflictError: it still runs after `timeout_s`.
    """
    process = agent_process(home)
    if process is None:
        raise NotFoundError(f"no agent runs for {str(home.path)!r} on this host")
    os.kill(process, signal.SIGTERM)
    until = time.monotonic() + timeout_s
    while agent_process(home) == process:
        if time.monotonic() >= until:
            raise ConflictError(f"the agent (process {process}) still runs after {timeout_s:g} s: look at its log")
        time.sleep(0.1)
    return process


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
