"""`assay login`, `logout`, `whoami`: tokens in a profile, and what they make of you."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import profiles
from cli.errors import InvalidInputError, NotSetUpError
from cli.options import Json
from cli.output import emit_json, print_facts, print_title, say

if TYPE_CHECKING:
    from api.schemas.people import TokenIssued


def login(
    *,
    registry: Annotated[str | None, typer.Option("--registry", metavar="URL", help="Sign in at a registry.")] = None,
    site: Annotated[
        Path | None, typer.Option("--site", metavar="FOLDER", help="Sign in at the site whose folder this is.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", help="Your token. Left out, it is asked for or read from stdin: other users see options."
        ),
    ] = None,
    invitation: Annotated[
        bool,
        typer.Option(
            "--invitation", help="With --registry: redeem an invitation, asked for or read from stdin, first."
        ),
    ] = False,
) -> None:
    """Keep your token for a registry or a site in a profile, after it was tried."""
    if (registry is None) == (site is None):
        raise InvalidInputError("name one of --registry URL and --site FOLDER")
    if invitation and (registry is None or token is not None):
        raise InvalidInputError("--invitation goes with --registry URL, and without --token")
    if invitation:
        secret = redeemed(str(registry), read_secret("Invitation"), label="first token", days=90).secret
    else:
        secret = token or read_secret("Token")
    name = profiles.chosen_name()
    if registry is not None:
        who = _person_at_registry(registry, secret)
        kept = profiles.Profile(registry_url=registry, token=secret)
    else:
        folder = Path(site or "").resolve()
        who = _person_at_site(folder, secret)
        kept = profiles.Profile(site_home=str(folder), site_token=secret)
    path = profiles.keep(name, kept)
    say(f"Signed in as {who['name']} <{who['email']}>. Kept in profile {name!r} ({path}).")


def logout() -> None:
    """Forget the tokens of a profile; they stay valid until they expire or are revoked."""
    name = profiles.chosen_name()
    say(f"Forgot the tokens of profile {name!r}." if profiles.forget(name) else f"Profile {name!r} holds no tokens.")


def whoami(*, as_json: Json = False) -> None:
    """Show who you are at the registry and at the site."""
    profile = profiles.current()
    if not profile.registry_url and not profile.site_home:
        raise NotSetUpError("neither a registry nor a site is named: see `assay login --help`")
    found: dict[str, Any] = {"profile": profiles.chosen_name()}
    if profile.registry_url:
        url, secret = profile.registry()
        found["registry"] = {"url": url, **_person_at_registry(url, secret)}
    if profile.site_home:
        found["site"] = {"home": profile.site_home, **_person_at_site(profile.home(), profile.person())}
    if as_json:
        emit_json(found)
        return
    for place in ("registry", "site"):
        if place in found:
            print_title(f"at the {place}")
            print_facts({name.replace("_", " "): str(value) for name, value in found[place].items()})


def read_secret(prompt: str) -> str:
    """A secret that is not shown: typed, or the first line of stdin.

    Raises:
        InvalidInputError: nothing was given.
    """
    secret = str(typer.prompt(prompt, hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise InvalidInputError(f"no {prompt.lower()} was given: type it, or send it to stdin")
    return secret.strip()


def read_new_secret(prompt: str) -> str:
    """A secret that somebody chooses: typed twice the same, or the first line of stdin.

    Raises:
        InvalidInputError: nothing was given.
    """
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True))
    return read_secret(prompt)


def redeemed(url: str, invitation: str, *, label: str, days: int) -> "TokenIssued":
    """The token that a registry gives for an invitation.

    Raises:
        InvalidInputError: it is not an invitation by its looks.
        Refused: redeemed before, or not good any more.
    """
    from pydantic import ValidationError

    from api.client import RegistryClient
    from api.schemas.people import Redemption

    try:
        redemption = Redemption(secret=invitation, label=label, expires_in_days=days)
    except ValidationError:
        raise InvalidInputError("this is no invitation: give it as it was shown, and nothing else") from None
    with RegistryClient(url, None) as client:
        return client.users.redeem(redemption)


def _person_at_registry(url: str, secret: str) -> dict[str, Any]:
    from api.client import RegistryClient

    with RegistryClient(url, secret) as client:
        me = client.users.me()
    return {"name": me.name, "email": me.email, "platform_administrator": me.platform_administrator}


def _person_at_site(folder: Path, secret: str) -> dict[str, Any]:
    from agents.home import Home
    from agents.store import Store
    from agents.store.people import sign_in

    home = Home(folder)
    settings = home.settings()
    store = Store(home.store_file)
    try:
        with store.read() as session:
            person = sign_in(session, secret)
    finally:
        store.close()
    return {"site": settings.site, "name": person.name, "email": person.email, "role": person.role.value}
