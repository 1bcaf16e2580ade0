"""`assay site`: sites as the registry knows them."""

from typing import Annotated

import typer

from cli.connect import find, registry
from cli.options import Days, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, say, when

app = noun("Sites as the registry knows them: add, list, token.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, `.`, `_`, `-`.")],
    *,
    title: Annotated[str, typer.Option("--title", help="Its name for people.")],
    organization: Annotated[str, typer.Option("--organization", help="Where it belongs: name or number.")],
    as_json: Json = False,
) -> None:
    """Add a site; for platform administrators."""
    from api.schemas.people import SiteCreate

    with registry() as client:
        home = find(client.organizations, "organization", organization)
        made = client.sites.create(SiteCreate(name=name, title=title, organization_id=home.id))
    emit_done(
        made, f"Added site {made.name!r} as number {made.id}. Next: `assay site token {made.name}`.", as_json=as_json
    )


@app.command("list")
def list_sites(*, as_json: Json = False) -> None:
    """All sites, and when they were last heard of."""
    columns = (
        Column("id", "id"),
        Column("site", "name"),
        Column("title", "title"),
        Column("last heard of (UTC)", "last_heartbeat_at", when),
        Column("version", "agent_version"),
        Column("steps are", "isolation"),
    )
    with registry() as client:
        emit_list(client.sites.all(), columns, as_json=as_json, empty="No sites.")


@app.command()
def token(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Its name or number.")],
    *,
    days: Days = 90,
    as_json: Json = False,
) -> None:
    """A token for a site's agent, shown this once: it goes into `assay agent init`."""
    from api.schemas.people import TokenCreate

    with registry() as client:
        found = find(client.sites, "site", site)
        issued = client.sites.issue_token(found.id, TokenCreate(label=f"agent of {found.name}", expires_in_days=days))
    if as_json:
        emit_json(issued)
    else:
        say(f"Token of site {found.name!r}, shown this once:\n  {issued.secret}")
