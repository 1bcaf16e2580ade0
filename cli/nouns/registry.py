"""`assay registry`: a federation's registry on this host."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import profiles
from cli.errors import NotSetUpError
from cli.options import Json, noun
from cli.output import emit_done, emit_json, say
from cli.render import emit_one

if TYPE_CHECKING:
    from api.core.settings import RegistrySettings

app = noun("A registry: init, start, upgrade, status.")
Data = Annotated[
    Path, typer.Option("--data", metavar="FOLDER", envvar="ASSAY_REGISTRY_DATA", help="The registry's folder.")
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        envvar="ASSAY_REGISTRY_DATABASE_URL",
        help="A PostgreSQL; a SQLite file in the folder when left out.",
    ),
]


@app.command()
def init(
    *,
    data: Data,
    database_url: Database = None,
    administrator: Annotated[str, typer.Option("--administrator", metavar="EMAIL", help="The first administrator.")],
    name: Annotated[str, typer.Option("--name", help="The administrator's name.")],
    organization: Annotated[str, typer.Option("--organization", help="Short name of the organization that hosts it.")],
    title: Annotated[str | None, typer.Option("--title", help="That organization's name for people.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Write the token there, for its owner alone, and show none."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Where a registry is already, bring its database to this version, no more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a registry: folder, audit key, database, first platform administrator. Their token is shown this once."""
    from api.bootstrap import HasPeopleError, initialise
    from api.schemas.people import OrganizationCreate

    settings = _settings(data, database_url)
    host = OrganizationCreate(name=organization, title=title or organization)
    try:
        secret = initialise(settings, organization=host, email=administrator, name=name)
    except HasPeopleError:
        if not once:
            raise
        emit_done({"data": str(settings.data)}, "It is a registry already, of this version now.", as_json=as_json)
        return
    if token_file is not None:
        from agents.home import write_private

        write_private(token_file, secret + "\n")
        emit_done(
            {"data": str(settings.data), "administrator": administrator, "token_file": str(token_file)},
            f"Made a registry in {str(settings.data)!r}; the token of {administrator} is in {str(token_file)!r}.",
            as_json=as_json,
        )
        return
    if as_json:
        emit_json({"data": str(settings.data), "administrator": administrator, "token": secret})
        return
    say(f"Made a registry in {str(settings.data)!r}.")
    say(f"Token of {administrator}, shown this once:\n  {secret}\nNext: `assay registry start --data {settings.data}`.")


@app.command()
def start(
    *,
    data: Data,
    database_url: Database = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Zero chooses a free one.")] = 8420,
    prefect_port: Annotated[
        int, typer.Option("--prefect-port", min=0, max=65535, help="Of the pages where reviews wait; zero: a free one.")
    ] = 8421,
    prefect_database_url: Annotated[
        str | None,
        typer.Option(
            "--prefect-database-url",
            metavar="URL",
            envvar="ASSAY_REGISTRY_PREFECT_DATABASE_URL",
            help="A PostgreSQL for Prefect; an embedded one when left out.",
        ),
    ] = None,
) -> None:
    """Run the registry, and beside it Prefect's server with the reviews, until Ctrl-C or SIGTERM.

    People sign in to the pages of reviews with a password (`assay user password`), a personal token, or through an OpenID
    Connect provider. The environment says how:

    ASSAY_REGISTRY_ISSUER: the provider's address, https; its secret lies in DATA/secrets/single-sign-on.secret, mode 600.

    ASSAY_REGISTRY_CLIENT_ID: as the provider knows the registry (assay). Its redirect address is ADDRESS/single-sign-on/back.

    ASSAY_REGISTRY_PROVIDER_TITLE: for the button on the sign-in page.

    ASSAY_REGISTRY_SESSION_HOURS: how long somebody stays signed in (12).

    ASSAY_REGISTRY_TRUSTED_PROXIES: addresses of proxies whose X-Forwarded headers are believed, with commas between.

    ASSAY_REGISTRY_PREFECT_SEPARATE: true for Prefect's server in a process of its own.
    """
    from cli.processes.registry_process import run

    run(
        _settings(data, database_url),
        host=host,
        port=port,
        prefect_port=prefect_port,
        prefect_database_url=prefect_database_url,
    )


@app.command()
def upgrade(*, data: Data, database_url: Database = None, as_json: Json = False) -> None:
    """Bring the database to this version of Assay, all of it or nothing. Stop the registry before."""
    from api.migrations import upgrade as to_newest

    revision = to_newest(_settings(data, database_url).url)
    emit_done({"revision": revision}, f"The database is at revision {revision}.", as_json=as_json)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Whether the registry of your profile answers, and its version."""
    from api.client import RegistryClient

    url = profiles.current().registry_url
    if not url:
        raise NotSetUpError("no registry is named: run `assay login --registry URL`, or set ASSAY_REGISTRY_URL")
    with RegistryClient(url, None) as client:
        emit_one({"url": url, **client.health()}, as_json=as_json)


def _settings(data: Path, database_url: str | None) -> "RegistrySettings":
    from api.core.settings import RegistrySettings

    return RegistrySettings(data=data.resolve(), database_url=database_url)
