"""`assay agent people`: who may do what at a site, and how they sign in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from cli.connect import opened_store
from cli.options import Days, Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, say, when

if TYPE_CHECKING:
    from agents.home import Home
    from flows.server.ledger import Ledger

app = noun("The people of the site: a data owner decides, an operator starts work, a viewer looks.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
RoleName = Literal["data_owner", "operator", "viewer"]
_SECRETS: Final = {"token_hash", "password_hash", "oidc_subject"}


@app.command("add")
def add_person(
    email: Email,
    *,
    name: Annotated[str, typer.Option("--name", help="As it will stand beside their decisions.")],
    role: Annotated[RoleName, typer.Option("--role", help="What they may do.")],
    benchmark: Annotated[
        list[int] | None,
        typer.Option(
            "--benchmark", min=1, metavar="NUMBER", help="They see the flow runs of this one alone; may be repeated."
        ),
    ] = None,
    days: Days = 90,
    as_json: Json = False,
) -> None:
    """Let somebody in. Their token is shown this once. Whoever owns the site's folder may do this."""
    from agents.store import people as book
    from agents.store.tables import Role

    with opened_store() as (_, store), store.write() as session:
        person, secret = book.add_person(
            session, email=_address(email), name=name, role=Role(role), days=days, benchmarks=benchmark
        )
    _tell_secret(person.email, secret, as_json=as_json)


@app.command("list")
def list_people(*, as_json: Json = False) -> None:
    """Who may do what here, and until when their token is good."""
    from agents.store import people as book

    columns = (
        Column("email", "email"),
        Column("name", "name"),
        Column("role", "role"),
        Column("password", "password"),
        Column("token until (UTC)", "expires_at", when),
        Column("revoked (UTC)", "revoked_at", when),
    )
    with opened_store() as (_, store), store.read() as session:
        found = [
            {**person.model_dump(mode="json", exclude=_SECRETS), "password": person.password_hash is not None}
            for person in book.list_people(session)
        ]
    emit_list(found, columns, as_json=as_json, empty="Nobody yet: see `assay agent people add --help`.")


@app.command("renew")
def renew(email: Email, *, days: Days = 90, as_json: Json = False) -> None:
    """A new token for somebody; the old one ends now."""
    from agents.store import people as book

    with opened_store() as (_, store), store.write() as session:
        secret = book.renew_token(session, _address(email), days=days)
    _tell_secret(_address(email), secret, as_json=as_json)


@app.command("password")
def set_password(email: Email, *, as_json: Json = False) -> None:
    """Set a person's password for the site's pages: asked for twice, or read from stdin. Their open sessions end."""
    from agents.store import people as book
    from cli.nouns.sign_in import read_new_secret

    address, password = _address(email), read_new_secret("Password")
    with opened_store() as (home, store):
        with store.write() as session:
            book.set_password(session, address, password)
            number = book.find_person(session, address).id
        with opened_ledger(home) as ledger:
            ledger.end_sessions_of(f"person:{number}")
    emit_done({"password_set": address}, f"{address} signs in to the pages with it from now on.", as_json=as_json)


@app.command("revoke")
def revoke(email: Email, *, as_json: Json = False) -> None:
    """End somebody's access now, token, password and sessions; what they decided stays theirs."""
    from agents.store import people as book

    with opened_store() as (_, store), store.write() as session:
        book.revoke(session, _address(email))
    emit_done({"revoked": _address(email)}, f"The access of {_address(email)} is revoked.", as_json=as_json)


@contextmanager
def opened_ledger(home: "Home") -> "Iterator[Ledger]":
    """What the layer in front of the site's Prefect server remembers."""
    from flows.server.ledger import Ledger

    ledger = Ledger(home.ledger_file)
    try:
        yield ledger
    finally:
        ledger.close()


def _address(email: str) -> str:
    """The address as it is kept.

    Raises:
        pydantic.ValidationError: it is none.
    """
    from pydantic import TypeAdapter

    from api.schemas.common import Email as Address

    return TypeAdapter(Address).validate_python(email)


def _tell_secret(email: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"email": email, "token": secret})
    else:
        say(f"Token of {email}, shown this once:\n  {secret}\nThey sign in with `assay login --site FOLDER`.")
