"""What people see of a step in Prefect's pages while it runs: why it waits, and, where the site wants that, its own words.

Prefect keeps what it hears for ever. Why a step waits is said by the cluster; a log is said by a stranger's program, perhaps
about a patient, and so comes only where the site's settings ask for it. Its beginning comes, and no more.
"""

from collections.abc import Callable

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

from agents.runtimes.telling import Listener
from agents.site import Site


def watching(site: Site) -> Listener:
    """Whoever looks at the run that this is called in; nobody outside of one."""
    try:
        logger = get_run_logger()
    except MissingContextError:
        return Listener()

    def say(sort: str) -> Callable[[str], None]:
        return lambda line: logger.info("%s%s", sort, line)

    return Listener(log=say("| ") if site.settings.live_logs else None, note=say(""))
