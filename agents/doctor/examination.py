"""All checks, in the order in which one rests on another."""

from collections.abc import Iterator
from pathlib import Path

from agents.doctor.findings import Finding, fail, ok
from agents.doctor.host import check_agent, check_disk, check_storage
from agents.doctor.registry import check_registry
from agents.doctor.steps import check_isolation, check_step
from agents.errors import HomeError
from agents.runtimes.protocol import RuntimeSetupError
from agents.site import Site


def examine(path: Path) -> Iterator[Finding]:
    """What is found at a site, as it is found; some checks take seconds, since steps are run for them.

    Args:
        path: the site's folder.
    """
    try:
        site = Site(path)
        yield ok("settings", f"site {site.settings.site!r}, runtime {site.settings.runtime!r}")
    except HomeError as error:
        yield fail("settings", str(error), "mend site.toml, or run `assay agent init`")
        return
    try:
        yield check_storage(site.home)
        yield check_disk(site.home)
        yield check_agent(site.home)
        yield from check_registry(site)
        yield from _check_steps(site)
    finally:
        site.close()


def _check_steps(site: Site) -> Iterator[Finding]:
    try:
        runtime = site.runtime
    except RuntimeSetupError as error:
        yield fail("runtime", str(error), "mend the runtime's table in site.toml")
        return
    usable = True
    if site.settings.runtime == "kubernetes":
        # Its client takes seconds to import, and most sites do without.
        from agents.doctor.cluster import check_cluster, check_gpu  # noqa: PLC0415

        for finding in check_cluster(site):
            usable &= finding.level != "fail"
            yield finding
    step = check_step(site, runtime) if usable else None
    if step is None or step.level == "fail":
        yield step or fail("step", "not tried: the cluster cannot be used as it is", "mend what failed above")
        return
    yield step
    yield check_isolation(site, runtime)
    if site.settings.runtime == "kubernetes" and site.settings.gpu_slots:
        yield check_gpu(site)
