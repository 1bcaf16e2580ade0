"""What the site's own folder, disk and process are like."""

import os
import shutil
from typing import Final

from agents.doctor.findings import Finding, fail, ok, warn
from agents.errors import HomeError
from agents.home import Home, write_private
from agents.prefect_api import PrefectApi
from agents.running import agent_process

_GIB: Final = 1 << 30
_FULL, _LITTLE = 1 * _GIB, 20 * _GIB


def check_storage(home: Home) -> Finding:
    """Whether what is written to the site's folder is there afterwards, and is the site's alone."""
    trial = home.path / f".doctor-{os.getpid()}"
    try:
        write_private(trial, "written")
        read = trial.read_text(encoding="utf-8")
        closed = not home.path.stat().st_mode & 0o077
    except OSError as error:
        return fail("storage", f"{str(home.path)!r} cannot be written: {error.strerror}", "give it to the agent's user")
    finally:
        trial.unlink(missing_ok=True)
    if read != "written":
        return fail("storage", f"{str(home.path)!r} gives back other bytes than were written", "replace the disk")
    if not closed:
        return fail("storage", f"{str(home.path)!r} is open to other users", f"run chmod 700 {home.path}")
    return ok("storage", f"{str(home.path)!r} can be written, and is the agent's alone")


def check_disk(home: Home) -> Finding:
    use = shutil.disk_usage(home.path)
    said = f"{use.free / _GIB:.1f} of {use.total / _GIB:.1f} GiB are free"
    if use.free < _FULL:
        return fail("disk", said, "make room: `assay site storage --prune`, or a larger volume")
    if use.free < min(_LITTLE, use.total // 10):
        return warn("disk", said, "make room before the next images come: `assay site storage --prune`")
    return ok("disk", said)


def check_agent(home: Home) -> Finding:
    """Whether the agent runs on this host, and its Prefect server answers."""
    process = agent_process(home)
    if process is None:
        return warn("agent", "it does not run on this host", "run `assay agent start`")
    try:
        url = home.prefect_url_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return warn("agent", f"process {process} is starting, or could not", "look at its log")
    prefect = PrefectApi(url)
    try:
        answers = prefect.healthy()
    finally:
        prefect.close()
    if not answers:
        return fail(
            "agent", f"process {process} runs, but Prefect at {url!r} does not answer", "look at the agent's log"
        )
    return ok("agent", f"process {process} runs, and Prefect answers at {url!r}")


def check_token(home: Home) -> Finding | None:
    """What is wrong with the site's token, before anybody is asked about it."""
    try:
        home.token()
    except HomeError as error:
        return fail("registry token", str(error), "issue one with `assay site token`, and give it to the site")
    return None
