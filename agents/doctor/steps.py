"""Whether a step runs at all, and whether it reaches what it must not: tried, not assumed."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from structlog.testing import capture_logs

from agents.doctor.findings import Finding, fail, ok, warn
from agents.errors import AgentError
from agents.runtimes.probe import probe_request
from agents.runtimes.protocol import Runtime, RuntimeSetupError, StepOutcome, StepRequest
from agents.site import Site
from api.schemas.border import Isolation

_LONG: Final = 1000


def check_step(site: Site, runtime: Runtime) -> Finding:
    """Run the smallest step there is: image, storage and the way there and back."""
    fix = "mend what is said; `assay agent probe` tries again"
    try:
        with a_small_step(site) as request:
            outcome = asyncio.run(runtime.run(request))
    except (RuntimeSetupError, AgentError, OSError) as error:
        return fail("step", first_lines(str(error)), fix)
    if not outcome.ok:
        return fail("step", first_lines(outcome.message), fix)
    return ok("step", f"one ran to its end, and its output came back, after {seconds_of(outcome):.1f} s")


def check_isolation(site: Site, runtime: Runtime) -> Finding:
    """Run the deny probe with its positive controls."""
    with capture_logs() as logs:
        outcome = runtime.probe()
    failed = sorted(name for name, held in outcome.checks.items() if not held)
    if outcome.isolation == Isolation.ISOLATED:
        return ok("isolation", f"a step reaches nothing that it must not ({len(outcome.checks)} checks)")
    reasons = "; ".join(str(entry["reason"]) for entry in logs if "reason" in entry and entry["log_level"] == "warning")
    said = first_lines(f"these checks failed: {', '.join(failed)}. {reasons}")
    if site.settings.allow_unisolated:
        return warn("isolation", said, "cubes run all the same (allow_unisolated), and their results say so for ever")
    return fail("isolation", said, _FIXES.get(site.settings.runtime, ""))


@contextmanager
def a_small_step(site: Site) -> Iterator[StepRequest]:
    """A step that reads its input and writes its output, and tries nothing."""
    work = site.home.folder("work")
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=work))
    try:
        yield probe_request(folder, {"nothing": True, "word": "doctor"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seconds_of(outcome: StepOutcome) -> float:
    return (outcome.finished_at - outcome.started_at).total_seconds()


def first_lines(text: str) -> str:
    """As much of a message as fits beside others."""
    line = " ".join(text.split())
    return line if len(line) <= _LONG else line[:_LONG].rstrip() + " ..."


_FIXES: Final = {
    "kubernetes": "apply the network policies of k8s/site, see that the cluster's network enforces them, or name a"
    " runtime_class that isolates",
    "docker": "see the host's settings of the engine; steps get no network, no capabilities, a read-only root",
    "process": "allow unprivileged user namespaces and cgroups on this host, or choose the docker or kubernetes runtime",
}
