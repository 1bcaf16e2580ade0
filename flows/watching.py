"""What people see of a step in Prefect's pages while it runs: why it waits, and, where the site wants that, its own words.

Prefect keeps what it hears for ever. Why a step waits is said by the cluster; a log is said by a stranger's program, perhaps
about a patient, and so comes only where the site's settings ask for it. Its beginning comes, and no more.
"""

from collections.abc import Callable

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

from agents.runtimes.telling import Listener
from agents.site import Site


def watching(site: Site, waits: Callable[[str], None] | None = None) -> Listener:
    """Whoever looks at the run that this is called in; outside of one, nobody but `waits`.

    Args:
        site: whose settings say whether logs are shown.
        waits: is told why the step waits, too.
    """
    try:
        logger = get_run_logger()
    except MissingContextError:
        return Listener(note=waits)

    def note(line: str) -> None:
        logger.info("%s", line)
        if waits is not None:
            waits(line)

    def log(line: str) -> None:
        logger.info("| %s", line)

    return Listener(log=log if site.settings.live_logs else None, note=note)
