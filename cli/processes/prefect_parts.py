"""Prefect's server with the database it needs, as parts of a process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.processes.services import Services
from flows.server.databases import ensure_prefect_database
from flows.server.hosting import Layer
from flows.server.postgres import EmbeddedPostgres
from flows.server.separate import SeparateServer, ServerOrder, server_here


@dataclass(frozen=True, slots=True)
class PrefectParts:
    """What was started."""

    url: str
    """Of its API, ending in `/api`."""
    live: Mapping[str, Callable[[], bool]]
    """By name: whether it still lives. Nothing here starts it anew."""


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
) -> PrefectParts:
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

    Raises:
        AgentError: the database or the server did not come up.
    """
    live: dict[str, Callable[[], bool]] = {}
    if database_url is None:
        postgres = EmbeddedPostgres(folder / "postgres")
        services.start("PostgreSQL", postgres)
        database_url = postgres.url("postgres")
        live["PostgreSQL"] = lambda: postgres.pid is not None
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
    url = str(services.start("Prefect's server", server))
    return PrefectParts(url, {**live, "Prefect's process": lambda: server.alive})
