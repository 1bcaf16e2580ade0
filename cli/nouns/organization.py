"""`assay organization`."""

from typing import Annotated

import typer

from cli.connect import registry
from cli.options import Json, noun
from cli.output import Column, emit_done, emit_list

app = noun("Organizations: add, list.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, `.`, `_`, `-`.")],
    *,
    title: Annotated[
        str | None, typer.Option("--title", help="Its name for people; the short one when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add an organization; for platform administrators."""
    from api.schemas.people import OrganizationCreate

    with registry() as client:
        made = client.organizations.create(OrganizationCreate(name=name, title=title or name))
    emit_done(made, f"Added organization {made.name!r} as number {made.id}.", as_json=as_json)


@app.command("list")
def list_organizations(*, as_json: Json = False) -> None:
    """All organizations."""
    columns = (Column("id", "id"), Column("organization", "name"), Column("title", "title"))
    with registry() as client:
        emit_list(client.organizations.all(), columns, as_json=as_json, empty="No organizations.")
