"""How our processes use Prefect: the one place that says so, in force before Prefect is imported.

Prefect reads its settings from the environment when it is first imported, and children inherit them.
"""

import os
import sys
from pathlib import Path
from typing import Final

HEARTBEAT_S: Final = 30
"""The shortest that Prefect knows. Proof that the process lives, not that a run moves."""

CLIENT_MAX_RETRIES: Final = 8
"""Eight tries are 510 seconds: a run whose server was away for a minute or two still ends as it really ended."""

ENVIRONMENT: Final = {
    # Without an address Prefect would start a temporary server and lose the runs with it.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": str(CLIENT_MAX_RETRIES),
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    # Gates rest on digests that we compute ourselves; no result or exception of a flow is pickled to disk by default.
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # A hospital's pod may fail; its log must not travel with the news of it.
    "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_FORWARD_CRASHED_RUN_LOGS": "false",
}


def configure(*, home: Path, api_url: str | None = None) -> None:
    """Put Prefect's settings into this process's environment.

    Args:
        home: where Prefect keeps its files; never the user's own `~/.prefect`, whose profile could redirect us.
        api_url: the server, where it is known already; a runner is given its own in any case.

    Raises:
        RuntimeError: Prefect was imported before, and with other settings.
    """
    wanted = {**ENVIRONMENT, "PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    if api_url is not None:
        wanted["PREFECT_API_URL"] = api_url
    late = sorted(name for name, value in wanted.items() if os.environ.get(name) != value)
    if late and "prefect" in sys.modules:
        raise RuntimeError(f"Prefect was imported before {late[0]!r} was set: call flows.settings.configure() earlier")
    os.environ.update(wanted)
