"""`assay site`: sites as the registry knows them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.connect import find, registry, site_store
from cli.connect import site as whole_site
from cli.errors import FailedError
from cli.nouns.site_doctor import doctor
from cli.options import Days, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, print_table, say, size, when

if TYPE_CHECKING:
    from agents.storage import Leftover

app = noun("Sites as the registry knows them: add, list, token; and this one: doctor, storage.")
app.command()(doctor)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, `.`, `_`, `-`.")],
    *,
    organization: Annotated[str, typer.Option("--organization", help="Where it belongs: name or number.")],
    title: Annotated[
        str | None, typer.Option("--title", help="Its name for people; the short one when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a site; for platform administrators."""
    from api.schemas.people import SiteCreate

    with registry() as client:
        home = find(client.organizations, "organization", organization)
        made = client.sites.create(SiteCreate(name=name, title=title or name, organization_id=home.id))
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


@app.command()
def storage(
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what nothing refers to, and old logs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --prune: say what would go.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read all that was fetched; exit code 10 if something changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What takes space at the site, by kind; and what of it may go.

    What a registered dataset, the registry's work or a job under way needs is never touched, nor what people did between
    the stages of a preparation.
    """
    from agents import storage as disk

    with site_store("start" if prune else "look"), whole_site() as here:
        gone = disk.prune(here, dry_run=dry_run or not prune)
        damaged = disk.changed(here) if check else []
        use = disk.storage_use(here)
    removed = prune and not dry_run
    if as_json:
        rows = [{"part": each.part, "files": each.files, "bytes": each.size} for each in use]
        found = {"use": rows, "removed" if removed else "removable": _leftovers(gone), "changed": _leftovers(damaged)}
        emit_json(found)
    else:
        print_table(("kind", "files", "size"), [[each.part, str(each.files), size(each.size)] for each in use])
        _tell_leftovers("Removed" if removed else "Could be removed (--prune)", gone)
        _tell_leftovers("Changed on disk; fetched again before it is used", damaged)
    if damaged:
        raise FailedError(f"{len(damaged)} thing(s) on disk are not what their digest says: {damaged[0].path}")


def _leftovers(found: "list[Leftover]") -> list[dict[str, Any]]:
    return [{"kind": each.part, "path": str(each.path), "bytes": each.size, "why": each.why} for each in found]


def _tell_leftovers(title: str, found: "list[Leftover]") -> None:
    if found:
        say(f"\n{title}, {size(sum(each.size for each in found))} in all:")
        print_table(("kind", "what", "size", "why"), [[e.part, e.path.name[:20], size(e.size), e.why] for e in found])
