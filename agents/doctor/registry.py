"""Whether the registry can be reached, knows this site, and has the same time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from agents.doctor.findings import Finding, fail, ok, warn
from agents.doctor.host import check_token
from agents.site import Site
from api.client import Refused, RegistryError

_ODD_S, _WRONG_S = 30.0, 300.0
_WAY_OUT: Final = "look at the address in site.toml, at DNS, at the proxy and at what the firewall lets out to port 443"


def check_registry(site: Site) -> Iterator[Finding]:
    """Address, clock and token, each where the one before holds."""
    if (problem := check_token(site.home)) is not None:
        yield problem
        return
    before = datetime.now(UTC)
    try:
        greeting = site.border.greeting()
    except RegistryError as error:
        yield fail("registry", str(error), _WAY_OUT)
        return
    after = datetime.now(UTC)
    yield ok("registry", f"it answers, version {greeting.get('version', 'unknown')}")
    if (said := greeting.get("time")) is not None:
        yield judge_clock(said, before, after)
    yield _check_sign_in(site)


def judge_clock(said: str, before: datetime, after: datetime) -> Finding:
    """Hold the registry's clock against ours.

    Args:
        said: the registry's time.
        before: ours when it was asked.
        after: ours when the answer was there.
    """
    theirs = datetime.fromisoformat(said)
    apart = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    told = f"{apart:.0f} s apart from the registry's"
    if apart >= _WRONG_S:
        return fail("clock", told, "set this host's clock (chrony, NTP): tokens and gates expire by it")
    if apart >= _ODD_S:
        return warn("clock", told, "see that this host's clock is kept right (chrony, NTP)")
    return ok("clock", told)


def _check_sign_in(site: Site) -> Finding:
    try:
        work = site.border.ask()
    except Refused as error:
        return fail("registry token", str(error), "issue another with `assay site token`, and give it to the site")
    except RegistryError as error:
        return fail("registry token", str(error), _WAY_OUT)
    return ok("registry token", f"the registry knows this site as number {work.site_id}")
