"""Prefect's server with the database it needs, as parts of a process."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cli.processes.services import Services
from flows.server.databases import ensure_prefect_database
from flows.server.hosting import Layer
from flows.server.postgres import EmbeddedPostgres
from flows.server.separate import SeparateServer, ServerOrder, server_here


def start_prefect(
    services: Services,
    folder: Path,
    *,
    database_url: str | None,
    database: str,
    host: str,
    port: int,
    layer: Callable[..., Layer],
    layer_arguments: Mapping[str, str],
    separate: bool,
    proxies: str,
) -> str:
    """Start Prefect's server, and an embedded PostgreSQL where no other is named.

    Args:
        services: what started stops with these.
        folder: for files of both; private.
        database_url: a PostgreSQL that exists, or None.
        database: the name of the database in it.
        host: where to listen.
        port: zero chooses a free one.
        layer: a function of a module that makes what stands in front; another process finds it by its name.
        layer_arguments: what it is called with.
        separate: in a process of its own instead of this one.
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
    order = ServerOrder(
        database_url=ensure_prefect_database(database_url, database),
        home=folder / "prefect-server",
        host=host,
        port=port,
        proxies=proxies,
        layer=f"{layer.__module__}:{layer.__qualname__}",
        layer_arguments=dict(layer_arguments),
    )
    server = SeparateServer(order) if separate else server_here(order, layer(**layer_arguments))
    return str(services.start("Prefect's server", server))
