"""Prefect's server with the database it needs, as parts of a process."""

from pathlib import Path

from cli.processes.services import Services
from flows.server.databases import ensure_prefect_database
from flows.server.hosting import Layer, PrefectServer
from flows.server.postgres import EmbeddedPostgres
from flows.server.separate import SeparateServer, ServerOrder


def start_prefect(
    services: Services,
    folder: Path,
    *,
    database_url: str | None,
    database: str,
    host: str = "127.0.0.1",
    port: int = 0,
    layer: Layer | None = None,
    separate: tuple[str, dict[str, str]] | None = None,
    proxies: str = "",
) -> str:
    """Start Prefect's server in this process, and an embedded PostgreSQL where no other is named.

    Args:
        services: what started stops with these.
        folder: for files of both; private.
        database_url: a PostgreSQL that exists, or None.
        database: the name of the database in it.
        host: where to listen.
        port: zero chooses a free one.
        layer: what stands in front, of a server in this process.
        separate: the same as a name and arguments (ServerOrder), for a server in a process of its own.
        proxies: addresses of proxies whose `X-Forwarded-*` are believed.

    Returns:
        The address of its API, ending in `/api`.

    Raises:
        AgentError: the database or the server did not come up.
    """
    if database_url is None:
        postgres = EmbeddedPostgres(folder / "postgres")
        services.start("PostgreSQL", postgres)
        database_url = postgres.url("postgres")
    url = ensure_prefect_database(database_url, database)
    files = folder / "prefect-server"
    server: PrefectServer | SeparateServer
    if separate is None:
        server = PrefectServer(url, home=files, host=host, port=port, layer=layer, proxies=proxies)
    else:
        name, arguments = separate
        order = ServerOrder(
            database_url=url,
            home=files,
            host=host,
            port=port,
            proxies=proxies,
            layer=name,
            layer_arguments=arguments,
        )
        server = SeparateServer(order)
    return str(services.start("Prefect's server", server))
