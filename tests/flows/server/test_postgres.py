"""The embedded PostgreSQL: a real one, for root and for ordinary users, that nobody is left alone with."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from flows.server.postgres import EmbeddedPostgres, PostgresError

pytestmark = pytest.mark.postgres

OWNER = """
    import sys, time
    from pathlib import Path
    from flows.server.postgres import EmbeddedPostgres
    server = EmbeddedPostgres(Path(sys.argv[1]))
    server.start()
    server.create_database("kept")
    print(server.pid, flush=True)
    {then}
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("shared") / "pg") as server:
        yield server


@pytest.fixture
def owner(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A process that starts a cluster in `tmp_path / "pg"`, says its number, and then does as told."""

    def run(then: str, *wrapper: str) -> subprocess.Popen[str]:
        program = textwrap.dedent(OWNER.format(then=then))
        command = [*wrapper, sys.executable, "-c", program, str(tmp_path / "pg")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return run


def _lives(pid: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class TestStart:
    def test_both_drivers_reach_a_database_by_its_url(self, postgres: EmbeddedPostgres) -> None:
        postgres.create_database("reached")
        url = make_url(postgres.url("reached", driver="psycopg"))
        with psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("reached",)
        assert postgres.url("reached").startswith("postgresql+asyncpg://postgres@/reached?host=")

    def test_it_listens_at_no_port_and_lets_only_its_user_in(self, postgres: EmbeddedPostgres) -> None:
        with postgres._connection() as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        socket = Path(str(make_url(postgres.url("postgres")).query["host"])) / ".s.PGSQL.5432"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700

    def test_folders_above_it_stay_as_private_as_they_were(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        with EmbeddedPostgres(private / "pg"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700

    def test_a_path_too_long_for_a_socket(self, tmp_path: Path) -> None:
        with EmbeddedPostgres(tmp_path / ("long" * 40) / "pg") as server:
            folder = Path(str(make_url(server.url("postgres")).query["host"]))
            assert server.exists("postgres")
        assert not folder.exists()

    @pytest.mark.parametrize("number", [65534, 54321], ids=["ordinary user", "number without a name"])
    def test_as_another_user(self, owner: Callable[..., subprocess.Popen[str]], number: int) -> None:
        process = owner("server.stop()", "unshare", "--user", f"--map-user={number}", f"--map-group={number}", "--")
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert not _lives(int(said))

    def test_a_second_owner_is_refused_and_the_first_not_disturbed(self, postgres: EmbeddedPostgres) -> None:
        second = EmbeddedPostgres(postgres.folder)
        with pytest.raises(PostgresError, match=str(os.getpid())):
            second.start()
        assert postgres.exists("postgres")

    def test_a_cluster_that_cannot_start_says_what_its_log_says(self, tmp_path: Path) -> None:
        with pytest.raises(PostgresError, match="shared_buffers"):
            EmbeddedPostgres(tmp_path / "pg", options={"shared_buffers": "nonsense"}).start()

    def test_options_reach_the_server(self, tmp_path: Path) -> None:
        with (
            EmbeddedPostgres(tmp_path / "pg", options={"max_connections": "17"}) as server,
            server._connection() as connection,
        ):
            assert connection.execute("SHOW max_connections").fetchone() == ("17",)

    def test_a_url_before_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(PostgresError, match="not started"):
            EmbeddedPostgres(tmp_path / "pg").url("x")


class TestStop:
    def test_nothing_is_left(self, tmp_path: Path) -> None:
        server = EmbeddedPostgres(tmp_path / "pg")
        server.start()
        pid = server.pid
        assert pid is not None
        assert _lives(pid)
        server.stop()
        server.stop()
        assert not _lives(pid)
        assert server.pid is None

    def test_what_was_written_is_there_at_the_next_start(self, tmp_path: Path) -> None:
        with EmbeddedPostgres(tmp_path / "pg") as server:
            server.create_database("kept")
        with EmbeddedPostgres(tmp_path / "pg") as server:
            assert server.exists("kept")


class TestOwnerDies:
    def test_its_server_is_taken_over_and_can_be_stopped(
        self, owner: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        process = owner("time.sleep(600)")
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.communicate()
        assert _lives(pid)
        with EmbeddedPostgres(tmp_path / "pg") as server:
            assert server.pid == pid
            assert server.exists("kept")
        assert not _lives(pid)

    def test_a_number_that_is_another_programs_now(
        self, owner: Callable[..., subprocess.Popen[str]], tmp_path: Path, until: Callable[..., None]
    ) -> None:
        process = owner("time.sleep(600)")
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.communicate()
        lock_file = tmp_path / "pg" / "data" / "postmaster.pid"
        stale = lock_file.read_text().replace(str(pid), str(os.getpid()), 1)
        own = [pid, *_children(pid)]
        os.kill(pid, signal.SIGKILL)
        # Its children notice by themselves; a new server does not start while one of them has the shared memory.
        until(lambda: not any(map(_lives, own)), "all of its processes to end")
        lock_file.write_text(stale)
        with EmbeddedPostgres(tmp_path / "pg") as server:
            assert server.pid not in {None, os.getpid(), pid}
            assert server.exists("kept")


class TestCreateDatabase:
    def test_as_a_copy_of_another(self, postgres: EmbeddedPostgres) -> None:
        postgres.create_database("original")
        with psycopg.connect(host=postgres._socket_folder, user="postgres", dbname="original") as connection:
            connection.execute("CREATE TABLE marked ()")
        postgres.create_database("copied", template="original")
        with psycopg.connect(host=postgres._socket_folder, user="postgres", dbname="copied") as connection:
            assert connection.execute("SELECT to_regclass('marked') IS NOT NULL").fetchone() == (True,)

    def test_twice(self, postgres: EmbeddedPostgres) -> None:
        postgres.create_database("twice")
        with pytest.raises(PostgresError, match="'twice'"):
            postgres.create_database("twice")

    def test_a_name_is_only_a_name(self, postgres: EmbeddedPostgres) -> None:
        name = 'x"; DROP DATABASE postgres; --'
        postgres.create_database(name)
        assert postgres.exists(name)
        assert postgres.exists("postgres")
