"""`assay user`: people at the registry."""

from typing import Annotated

import typer

from cli.connect import find, registry
from cli.options import Days, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, say

app = noun("People at the registry: add, token, password, list, deactivate, activate.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]


@app.command()
def add(
    email: Email,
    *,
    name: Annotated[str, typer.Option("--name", help="As it will stand beside their decisions.")],
    organization: Annotated[str, typer.Option("--organization", help="Where they belong: name or number.")],
    administrator: Annotated[bool, typer.Option("--administrator", help="Make them a platform administrator.")] = False,
    days: Days = 90,
    as_json: Json = False,
) -> None:
    """Add a person and issue their first token, shown this once; for platform administrators."""
    from api.schemas.people import TokenCreate, UserCreate

    with registry() as client:
        home = find(client.organizations, "organization", organization)
        user = client.users.create(
            UserCreate(email=email, name=name, organization_id=home.id, platform_administrator=administrator)
        )
        issued = client.users.issue_first_token(user.id, TokenCreate(label="first token", expires_in_days=days))
    if as_json:
        emit_json({**plain(user), "token": issued.secret})
    else:
        say(f"Added {user.name} <{user.email}> as number {user.id}.")
        _tell_secret(user.email, issued.secret)


@app.command()
def token(email: Email, *, days: Days = 90, as_json: Json = False) -> None:
    """A first token for somebody who has none that is valid."""
    from api.schemas.people import TokenCreate

    with registry() as client:
        user = find(client.users, "user", email, key="email")
        issued = client.users.issue_first_token(user.id, TokenCreate(label="first token", expires_in_days=days))
    if as_json:
        emit_json(issued)
    else:
        _tell_secret(user.email, issued.secret)


@app.command()
def password(*, as_json: Json = False) -> None:
    """Set your own password for the pages of reviews: asked for twice, or read from stdin."""
    from api.schemas.people import PasswordUpdate
    from cli.nouns.sign_in import read_new_secret

    with registry() as client:
        user = client.users.set_password(PasswordUpdate(password=read_new_secret("Password")))
    emit_done(user, f"{user.email} signs in to the pages with it; older sessions have ended.", as_json=as_json)


@app.command("list")
def list_users(*, as_json: Json = False) -> None:
    """Everybody."""
    columns = (
        Column("id", "id"),
        Column("email", "email"),
        Column("name", "name"),
        Column("organization", "organization_id"),
        Column("administrator", "platform_administrator"),
        Column("active", "active"),
    )
    with registry() as client:
        emit_list(client.users.all(), columns, as_json=as_json, empty="Nobody.")


@app.command()
def deactivate(email: Email, *, as_json: Json = False) -> None:
    """End a person's access and all of their tokens; what they did stays theirs."""
    with registry() as client:
        user = client.users.deactivate(find(client.users, "user", email, key="email").id)
    emit_done(user, f"{user.email} has no access any more.", as_json=as_json)


@app.command()
def activate(email: Email, *, as_json: Json = False) -> None:
    """Give a person access again; they need a new token (`assay user token`)."""
    with registry() as client:
        user = client.users.activate(find(client.users, "user", email, key="email").id)
    emit_done(
        user, f"{user.email} has access again: issue a token with `assay user token {user.email}`.", as_json=as_json
    )


def _tell_secret(email: str, secret: str) -> None:
    say(f"Token of {email}, shown this once:\n  {secret}\nThey sign in with `assay login --registry URL`.")
