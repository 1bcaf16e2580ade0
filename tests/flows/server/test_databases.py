"""A PostgreSQL that takes nobody in without TLS: a real one, behind a door that speaks TLS as PostgreSQL does."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from flows.server.databases import DatabaseError, ensure_prefect_database
from flows.server.postgres import EmbeddedPostgres
from flows.server.separate import SeparateServer, ServerOrder
from tests.certificates import self_signed

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
_TLS_PLEASE = bytes.fromhex("0000000804d2162f")
"""SSLRequest: https://www.postgresql.org/docs/current/protocol-message-formats.html"""


class Door:
    """Lets TLS in, and passes on what it hears to a PostgreSQL's own socket."""

    def __init__(self, certificate: Path, behind: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._behind = behind
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._open, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _open(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._let_in, args=[self._listening.accept()[0]], daemon=True).start()

    def _let_in(self, caller: socket.socket) -> None:
        with suppress(OSError), caller, socket.socket(socket.AF_UNIX) as behind:
            if caller.recv(8, socket.MSG_WAITALL) != _TLS_PLEASE:
                return
            caller.sendall(b"S")
            with self._context.wrap_socket(caller, server_side=True) as inside:
                behind.connect(self._behind)
                threading.Thread(target=_pass_on, args=[behind, inside], daemon=True).start()
                _pass_on(inside, behind)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def door(cluster: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("PGSSLROOTCERT", str(certificate))
    folder = make_url(cluster.url("postgres")).query["host"]
    door = Door(certificate, f"{folder}/.s.PGSQL.5432")
    yield door
    door.close()


def test_a_user_who_may_not_copy_another_one_s_gets_one_of_their_own(
    cluster: EmbeddedPostgres, short_folder: Path
) -> None:
    """Two sites with a user each on one PostgreSQL: the server of the second migrates its database by itself."""
    ensure_prefect_database(cluster.url("postgres"), "prefect_of_the_first")
    with psycopg.connect(cluster.url("postgres").replace("+asyncpg", ""), autocommit=True) as root:
        root.execute("CREATE ROLE second LOGIN CREATEDB")
    url = make_url(cluster.url("postgres")).set(username="second").render_as_string()
    made = make_url(ensure_prefect_database(url, "prefect_of_the_second"))
    assert (made.username, made.database) == ("second", "prefect_of_the_second")
    order = ServerOrder(database_url=made.render_as_string(), home=short_folder / "second")
    with SeparateServer(order) as server:
        assert httpx2.post(f"{server.url}/flows/count", json={}, trust_env=False, timeout=60).json() == 0


def _url(cluster: EmbeddedPostgres, door: Door, words: str) -> str:
    user = make_url(cluster.url("postgres")).username
    return f"postgresql+asyncpg://{user}@127.0.0.1:{door.port}/postgres{words}"


@pytest.mark.parametrize("word", ["ssl", "sslmode"])
def test_it_is_reached_with_tls_by_everybody_who_uses_its_address(
    cluster: EmbeddedPostgres, door: Door, word: str
) -> None:
    url = ensure_prefect_database(_url(cluster, door, f"?{word}=verify-full"), f"prefect_by_{word}")

    async def runs() -> int:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return int((await connection.execute(text("SELECT count(*) FROM flow_run"))).scalar_one())
        finally:
            await engine.dispose()

    assert asyncio.run(runs()) == 0


@pytest.mark.parametrize(("words", "why"), [("?ssl=disable", "server closed"), ("?ssl=verify-full", "certificate")])
def test_without_tls_or_its_authority_nobody_gets_in(
    cluster: EmbeddedPostgres, door: Door, words: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("PGSSLROOTCERT", str(self_signed(tmp_path / "other")))
    with pytest.raises(DatabaseError, match=why):
        ensure_prefect_database(_url(cluster, door, words), "prefect_refused")
