"""`assay user`: people at the registry."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.connect import find, registry
from cli.options import InvitationDays, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, say, when

if TYPE_CHECKING:
    from api.schemas.people import InvitationIssued

app = noun("People at the registry: add, invite, password, list, deactivate, activate.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]


@app.command()
def add(
    email: Email,
    *,
    name: Annotated[str, typer.Option("--name", help="As it will stand beside their decisions.")],
    organization: Annotated[str, typer.Option("--organization", help="Where they belong: name or number.")],
    administrator: Annotated[bool, typer.Option("--administrator", help="Make them a platform administrator.")] = False,
    days: InvitationDays = 7,
    as_json: Json = False,
) -> None:
    """Add a person and invite them: the invitation, shown this once, gives them a token that nobody else has seen."""
    from api.schemas.people import InvitationCreate, UserCreate

    with registry() as client:
        home = find(client.organizations, "organization", organization)
        user = client.users.create(
            UserCreate(email=email, name=name, organization_id=home.id, platform_administrator=administrator)
        )
        invitation = client.users.invite(user.id, InvitationCreate(expires_in_days=days))
    if as_json:
        emit_json({**plain(user), "invitation": invitation.secret, "invitation_expires_at": invitation.expires_at})
    else:
        say(f"Added {user.name} <{user.email}> as number {user.id}.")
        _tell(user.email, invitation)


@app.command()
def invite(email: Email, *, days: InvitationDays = 7, as_json: Json = False) -> None:
    """Invite somebody who has no valid token; an invitation that they have not redeemed ends."""
    from api.schemas.people import InvitationCreate

    with registry() as client:
        user = find(client.users, "user", email, key="email")
        invitation = client.users.invite(user.id, InvitationCreate(expires_in_days=days))
    if as_json:
        emit_json(invitation)
    else:
        _tell(user.email, invitation)


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
    """Give a person access again; they need a new token (`assay user invite`)."""
    with registry() as client:
        user = client.users.activate(find(client.users, "user", email, key="email").id)
    emit_done(
        user, f"{user.email} has access again: invite them with `assay user invite {user.email}`.", as_json=as_json
    )


def _tell(email: str, invitation: "InvitationIssued") -> None:
    say(f"Invitation of {email}, good once and until {when(invitation.expires_at)} UTC, shown this once:")
    say(f"  {invitation.secret}\nThey redeem it with `assay login --registry URL --invitation`.")
