"""`assay departures`: the proof of what left a hospital."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.connect import site_store
from cli.options import Json
from cli.output import Column, digest, emit_list, note, size, when

Decisions = Sequence[Mapping[str, Any]]


def _people(decisions: Decisions) -> str:
    return "; ".join(each["person"] for each in decisions) or "-"


def _reasons(decisions: Decisions) -> str:
    return "; ".join(each["reason"] for each in decisions) or "-"


_ANSWER = Column("registry", "state")
"""Shown where the registry has not taken everything."""
_COLUMNS = (
    Column("id", "id"),
    Column("left at (UTC)", "left_at", when),
    Column("what", "kind"),
    Column("about", "subject"),
    Column("bytes", "bytes"),
    Column("sha256", "sha256", digest),
    _ANSWER,
    Column("allowed by", "decisions", _people),
    Column("because", "decisions", _reasons),
)


def departures(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind of payload, such as `result`.")] = None,
    *,
    decided: Annotated[
        bool, typer.Option("--decided", help="Only what a person had to allow: datasets and results.")
    ] = False,
    content: Annotated[
        int | None,
        typer.Option("--content", metavar="ID", help="The bytes of one, as they left: pipe them to sha256sum."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What left this hospital, and who approved it: kind, size, sha256, and the decisions behind it.

    What the registry refused reached it all the same; what it has not answered may have.
    """
    from agents.store.outbox import departures as all_departures
    from agents.store.outbox import what_left

    if content is not None:
        with site_store() as here, here.store.read() as session:
            body = what_left(session, content)
        sys.stdout.write(body.decode("utf-8"))
        return
    with site_store() as here, here.store.read() as session:
        left = all_departures(session)
    chosen = [item for item in left if kind in {None, item["kind"]} and (item["decisions"] or not decided)]
    all_taken = all(item["state"] == "taken" for item in chosen)
    columns = [column for column in _COLUMNS if column is not _ANSWER or not all_taken]
    emit_list(chosen, columns, as_json=as_json, empty="Nothing has left this hospital.")
    if not as_json and chosen:
        note(_summary(chosen))


def _summary(items: list[dict[str, Any]]) -> str:
    kinds: Mapping[str, int] = Counter(item["kind"] for item in items)
    total = size(sum(item["bytes"] for item in items))
    return f"{total} in {len(items)} payloads: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
