"""`assay token`: your own tokens for the registry."""

from enum import StrEnum
from typing import Annotated

import typer

from cli import profiles
from cli.connect import registry
from cli.options import Days, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, joined, say, when

app = noun("Your tokens for the registry: redeem, issue, list, revoke.")


class ScopeName(StrEnum):
    """What a person may ask for; all scopes are in `api.schemas.people`, which help does not load."""

    READ = "read"
    WRITE = "write"
    DECIDE = "decide"


@app.command()
def issue(
    label: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    scopes: Annotated[
        list[ScopeName] | None,
        typer.Option("--scope", help="What it is good for; may be repeated. All that yours is, when left out."),
    ] = None,
    days: Days = 90,
    as_json: Json = False,
) -> None:
    """Another token for yourself, shown this once; never good for more than the one you use."""
    from api.schemas.people import Scope, TokenCreate

    wanted = [Scope(scope) for scope in scopes] if scopes else None
    with registry() as client:
        issued = client.users.issue_token(TokenCreate(label=label, scopes=wanted, expires_in_days=days))
    if as_json:
        emit_json(issued)
    else:
        say(f"Token {issued.label!r}, until {when(issued.expires_at)} UTC, shown this once:\n  {issued.secret}")


@app.command()
def redeem(
    label: Annotated[str, typer.Argument(help="What the token is for.")] = "first token",
    *,
    url: Annotated[
        str | None, typer.Option("--registry", metavar="URL", help="Of which registry; your profile's when left out.")
    ] = None,
    days: Days = 90,
    as_json: Json = False,
) -> None:
    """Exchange an invitation for a token of your own, shown this once. The invitation is asked for, or read from stdin."""
    from cli.nouns.sign_in import read_secret, redeemed

    issued = redeemed(url or profiles.current().registry_address(), read_secret("Invitation"), label=label, days=days)
    if as_json:
        emit_json(issued)
    else:
        say(f"Token {issued.label!r}, until {when(issued.expires_at)} UTC, shown this once:\n  {issued.secret}")


@app.command("list")
def list_tokens(*, as_json: Json = False) -> None:
    """Your tokens; their secrets are kept nowhere."""
    columns = (
        Column("id", "id"),
        Column("label", "label"),
        Column("scopes", "scopes", joined),
        Column("until (UTC)", "expires_at", when),
        Column("revoked (UTC)", "revoked_at", when),
        Column("last used (UTC)", "last_used_at", when),
    )
    with registry() as client:
        emit_list(client.users.tokens(), columns, as_json=as_json, empty="No tokens.")


@app.command()
def revoke(
    token: Annotated[int, typer.Argument(metavar="TOKEN", help="Its number, from `assay token list`.")],
    *,
    as_json: Json = False,
) -> None:
    """End a token now."""
    with registry() as client:
        done = client.users.revoke_token(token)
    emit_done(done, f"Token {done.label!r} is revoked.", as_json=as_json)
