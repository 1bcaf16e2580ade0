"""`assay gate`: what waits for a person, exactly what they are asked, and their answer."""

from typing import Annotated

import typer

from cli.connect import at_site
from cli.options import AtSite, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, when

app = noun("What waits for a decision: list, show, approve, reject. At the site when one is named, else the registry.")
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

    with desk(here=at_site(site), right="decide") as gates:
        question = gates.question(gate)
        items = item_numbers(question, withhold)
        decided_on = bind(question, verdict, bound=bound, yes=yes, quiet=as_json)
        decision = plain(gates.decide(question, digest=decided_on, verdict=verdict, reason=reason, withheld=items))
    done = {"approve": "approved", "reject": "rejected"}[verdict]
    left_out = f", without {len(items)} item(s)" if items else ""
    emit_done(decision, f"{question.title} {done.capitalize()}{left_out}, bound to {decided_on}.", as_json=as_json)
