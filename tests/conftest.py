"""What tests of several folders share: one real Prefect server on a real PostgreSQL for each test process that asks."""

import gc
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.settings import configure

Until = Callable[..., None]
LONG_S = 120.0
"""A limit for conditions; two busy cores must not fail a test."""


_PREFECT_HOME = Path(tempfile.mkdtemp(prefix="assay-prefect-"))
# Before any test module imports Prefect, which reads its settings once.
configure(home=_PREFECT_HOME)
# A test's server is gone when its process ends: what Prefect has left to say then is not worth minutes of retries.
os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect's client leaves sockets of its event streams to the collector: no fault of the test that it meets."""
    for item in items:
        if "prefect_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
            item.add_marker(
                pytest.mark.filterwarnings(
                    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
                )
            )


def pytest_unconfigure() -> None:
    shutil.rmtree(_PREFECT_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait for a condition: `until(lambda: ..., "what")`."""

    def wait(condition: Callable[[], object], what: str = "the condition", *, limit_s: float = LONG_S) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, f"waited {limit_s} s in vain for {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket, and open enough for PostgreSQL's own user."""
    folder = Path(tempfile.mkdtemp(prefix="assay-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_database(short_folder: Path) -> Iterator[str]:
    """The database of this process's Prefect server."""
    # Imported late: most test processes ask for no server, and Prefect takes long to import.
    from flows.server.databases import ensure_prefect_database  # noqa: PLC0415
    from flows.server.postgres import EmbeddedPostgres  # noqa: PLC0415

    with EmbeddedPostgres(short_folder / "pg", options={"fsync": "off"}) as cluster:
        yield ensure_prefect_database(cluster.url("postgres"), "prefect")


@pytest.fixture(scope="session")
def prefect_url(prefect_database: str, short_folder: Path) -> Iterator[str]:
    """The API of a running Prefect server, in a process of its own that ends with this one, however this one ended."""
    from flows.server.separate import SeparateServer, ServerOrder  # noqa: PLC0415 - as above

    with SeparateServer(ServerOrder(database_url=prefect_database, home=short_folder / "server")) as server:
        yield server.url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # the last of those sockets, while they may still be ignored
