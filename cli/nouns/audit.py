"""`assay audit`: the registry's history, proved by its chain and by the heads that a site kept of it."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import profiles
from cli.connect import opened_store, registry
from cli.errors import FailedError
from cli.options import Json, Limit, noun
from cli.output import Column, digest, emit_json, emit_list, print_facts, say, text, when
from cli.render import emit_one

if TYPE_CHECKING:
    from agents.store.tables import KeptHead
    from api.client import RegistryClient
    from api.schemas.records import AuditEntry, AuditVerification

app = noun("The registry's audit log: list, verify, head.")
_PAGE = 200
_NEWEST = 50
"""Heads that are asked about one by one."""


@app.command("list")
def list_entries(
    *,
    action: Annotated[str | None, typer.Option("--action", help="Only this action.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only about this.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only by this person or site.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Entries of the audit log, oldest first; for platform administrators."""
    columns = (
        Column("entry", "sequence"),
        Column("at (UTC)", "at", when),
        Column("who", "actor"),
        Column("did", "action"),
        Column("to", "subject"),
        Column("digest", "digest", digest),
    )
    with registry() as client:
        found = _entries(client, limit=limit, action=action, subject=subject, actor=actor)
    emit_list(found, columns, as_json=as_json, empty="No entries.")


@app.command()
def head(*, as_json: Json = False) -> None:
    """Where the chain has come to."""
    with registry() as client:
        emit_one(client.audit.head(), as_json=as_json)


@app.command()
def verify(*, as_json: Json = False) -> None:
    """Let the registry hold its rows against its chain, and the chain against the heads this site kept. Exit code 10: broken."""
    with registry() as client:
        found = client.audit.verify()
        kept = _kept_heads()
        compared, contradicting = _compare(client, kept)
    report: dict[str, Any] = {
        **found.model_dump(mode="json"),
        "kept_heads": None if kept is None else len(kept),
        "compared_heads": compared,
        "contradicting_heads": [{"sequence": item.sequence, "head": item.head} for item in contradicting],
    }
    if as_json:
        emit_json(report)
    else:
        print_facts({name.replace("_", " "): _told(value) for name, value in report.items()})
    _judge(found, contradicting)
    if not as_json:
        say(_worth(found.entries, kept, compared))


def _worth(entries: int, kept: "list[KeptHead] | None", compared: int) -> str:
    """What was proved, and to whom."""
    whole = f"The history is whole: {entries} entries, each sealed with the one before it, results as they tell"
    if compared:
        return f"{whole}, and as this hospital saw it: {compared} of the {len(kept or [])} heads that it kept were compared."
    missing = (
        "name a site's folder (ASSAY_SITE_HOME)" if kept is None else "this site has kept none yet: start its agent"
    )
    return f"{whole}. So says the registry; nothing kept elsewhere was held against it: {missing}."


def _judge(found: "AuditVerification", contradicting: "list[KeptHead]") -> None:
    if found.changed_rows:
        changed = "; ".join(found.changed_rows)
        raise FailedError(f"not what the registry's audit log tells of them, changed in its database: {changed}")
    if not found.intact:
        raise FailedError(f"the registry's audit log is broken at entry {found.first_broken}: its history was changed")
    if contradicting:
        first = contradicting[0]
        raise FailedError(
            f"entry {first.sequence} is not what this site saw on {first.seen_at:%Y-%m-%d %H:%M}: the registry's history"
            " was rewritten"
        )


def _kept_heads() -> "list[KeptHead] | None":
    """The heads that the site of the profile kept; None when no site is named."""
    from agents.store.heads import list_heads

    if not profiles.current().site_home:
        return None
    with opened_store() as (_, store), store.read() as session:
        return list_heads(session)


def _compare(client: "RegistryClient", kept: "list[KeptHead] | None") -> "tuple[int, list[KeptHead]]":
    """How many kept heads were held against the registry's chain, and those that contradict it.

    All of them where the token may read the log, else the newest: each stands for everything before it.
    """
    from agents.store.heads import contradictions
    from api.client import Refused

    heads = sorted((item for item in kept or [] if item.sequence > 0), key=lambda item: item.sequence)
    if not heads:
        return 0, []
    try:
        entries = _entries(client, limit=heads[-1].sequence)
    except Refused:
        newest = heads[-_NEWEST:]
        return len(newest), [item for item in newest if _head_at(client, item.sequence) != item.head]
    return len(heads), contradictions(heads, entries)


def _head_at(client: "RegistryClient", sequence: int) -> str | None:
    """The chain's head with an entry; None where it has none."""
    from api.client import Refused

    try:
        return client.audit.head(at=sequence).head
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def _entries(client: "RegistryClient", *, limit: int, **filters: str | None) -> "list[AuditEntry]":
    found: list[AuditEntry] = []
    while len(found) < limit:
        page = client.audit.entries(limit=min(_PAGE, limit - len(found)), offset=len(found), **filters)
        found += page.items
        if not page.items or len(found) >= page.total:
            break
    return found


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_item, value)) or "none"
    return text(value)


def _item(value: Any) -> str:
    return value if isinstance(value, str) else f"{value['sequence']} ({digest(value['head'])})"
