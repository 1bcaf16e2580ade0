"""`assay gate`: what waits for a person, exactly what they are asked, and their answer."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.connect import at_site, site_store
from cli.options import AtSite, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, when

app = noun(
    "What waits for a decision: list, show, approve, reject, at the site when one is named, else the registry;"
    " renew and delegate at the site."
)
GateId = Annotated[str, typer.Argument(metavar="GATE", help="The gate's identifier; at a site its beginning will do.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why. It is kept for ever, with your name.")]
Bound = Annotated[
    str | None, typer.Option("--digest", help="The digest of what you were shown; without it, it is shown now.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again after showing.")]
Withhold = Annotated[
    list[str] | None,
    typer.Option("--withhold", metavar="ITEM", help="Leave an item out, by its number or model; may be repeated."),
]

_COLUMNS = (
    Column("gate", "id", lambda value: str(value)[:8]),
    Column("question", "title"),
    Column("about", "subject"),
    Column("state", "state"),
    Column("since (UTC)", "since", when),
)


@app.command("list")
def list_gates(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are decided or superseded.")] = False,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """What waits for a decision."""
    from cli.gatekeeping import desk

    with desk(here=at_site(site)) as gates:
        found = gates.everything() if everything else gates.waiting()
    emit_list(found, _COLUMNS, as_json=as_json, empty="Nothing waits for you.")


@app.command()
def show(
    gate: GateId,
    *,
    exact: Annotated[bool, typer.Option("--exact", help="All digits of all numbers.")] = False,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """Exactly what you are asked to approve, with its digest, and who has decided."""
    from cli.gatekeeping import desk, print_question

    with desk(here=at_site(site)) as gates:
        question = gates.question(gate)
        decisions = gates.decisions(question)
    if as_json:
        emit_json({**question.record, "decisions": plain(decisions)})
    else:
        print_question(question, decisions, exact=exact)


@app.command()
def approve(
    gate: GateId,
    *,
    reason: Reason,
    withhold: Withhold = None,
    bound: Bound = None,
    yes: Yes = False,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """Approve exactly what is shown. Without --digest it is shown first, and the decision is bound to that."""
    _decide("approve", gate, reason, withhold or [], bound=bound, yes=yes, site=site, as_json=as_json)


@app.command()
def reject(
    gate: GateId,
    *,
    reason: Reason,
    bound: Bound = None,
    yes: Yes = False,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """Reject what is shown. Without --digest it is shown first, and the decision is bound to that."""
    _decide("reject", gate, reason, [], bound=bound, yes=yes, site=site, as_json=as_json)


@app.command()
def renew(
    gate: GateId,
    *,
    days: Annotated[float, typer.Option("--days", min=0.01, max=366, help="So long it may be answered from now.")] = 7,
    as_json: Json = False,
) -> None:
    """Let a question of the site stand for longer than its time; one that has expired is to be asked again."""
    from agents.store import gates as book

    with site_store("start") as here, here.store.write() as session:
        renewed = book.renew(session, gate, here.person, days=days)
    emit_done(renewed, f"{renewed.title} It may be answered until {when(renewed.expires_at)} UTC.", as_json=as_json)


@app.command()
def delegate(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who decides in your place.")],
    *,
    until: Annotated[datetime, typer.Option("--until", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="UTC.")],
    reason: Reason,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="NAME", help="Only at gates of this name: release_results, say.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let somebody else of the site decide in your place for a while; their decisions name you both."""
    from agents.store.delegations import delegate as let
    from agents.store.people import find_person

    with site_store("decide") as here, here.store.write() as session:
        taker = find_person(session, email)
        end = until.replace(tzinfo=UTC)
        row = let(session, here.person, taker, until=end, gate_name=kind, reason=reason)
    where = "every gate" if kind is None else f"gates named {kind}"
    emit_done(row, f"{taker.name} decides for you at {where} until {when(end)} UTC.", as_json=as_json)


@app.command()
def undelegate(*, as_json: Json = False) -> None:
    """Take back all that you delegated; what was decided by it and not yet carried out no longer counts."""
    from agents.store.delegations import end_delegations

    with site_store("decide") as here, here.store.write() as session:
        ended = end_delegations(session, here.person)
    emit_done({"ended": ended}, f"Took back {ended} delegation(s).", as_json=as_json)


@app.command()
def delegations(*, as_json: Json = False) -> None:
    """Who decides in whose place at this site, until when and why; also what is over."""
    from agents.store.delegations import list_delegations

    columns = (
        Column("from", "from"),
        Column("to", "to"),
        Column("gates", "gate_name", lambda value: value or "all"),
        Column("until (UTC)", "until", when),
        Column("taken back (UTC)", "revoked_at", when),
        Column("why", "reason"),
    )
    with site_store() as here, here.store.read() as session:
        found = [
            {**plain(row), "from": giver.email, "to": taker.email} for row, giver, taker in list_delegations(session)
        ]
    emit_list(found, columns, as_json=as_json, empty="Everybody decides for themselves.")


def _decide(
    verdict: str,
    gate: str,
    reason: str,
    withhold: list[str],
    *,
    bound: str | None,
    yes: bool,
    site: bool | None,
    as_json: bool,
) -> None:
    from cli.gatekeeping import bind, desk, item_numbers

    with desk(here=at_site(site)) as gates:
        question = gates.question(gate)
        items = item_numbers(question, withhold)
        decided_on = bind(question, verdict, bound=bound, yes=yes, quiet=as_json)
        decision = plain(gates.decide(question, digest=decided_on, verdict=verdict, reason=reason, withheld=items))
    done = {"approve": "approved", "reject": "rejected"}[verdict]
    left_out = f", without {len(items)} item(s)" if items else ""
    emit_done(decision, f"{question.title} {done.capitalize()}{left_out}, bound to {decided_on}.", as_json=as_json)
