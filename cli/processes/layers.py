"""What stands in front of Prefect's server, put together from those who keep people and gates."""

from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from agents.desk import SiteGates, SitePeople
from agents.errors import HomeError
from agents.home import Home
from agents.store import Store
from flows.server.hosting import Layer
from flows.server.layer import SignIn
from flows.server.ledger import Ledger
from flows.server.oidc import Provider


def site_layer(home: str, service_token: str) -> Layer:
    """A site's: its people and gates are those of its store.

    Args:
        home: the site's folder.
        service_token: of the agent and the runner of flows beside the server.

    Raises:
        HomeError: not a site's folder, or the identity provider's secret is missing.
    """
    place = Home(Path(home))
    settings = place.settings()
    store = Store(place.store_file)
    return SignIn(
        name=settings.site,
        people=SitePeople(store),
        gates=SiteGates(store),
        ledger=Ledger(place.ledger_file),
        service_token=service_token,
        provider=_provider(place),
        session_life=timedelta(hours=settings.sign_in.session_hours),
    ).layer()


def _provider(home: Home) -> Provider | None:
    settings = home.settings().sign_in
    if settings.issuer is None:
        return None
    try:
        secret = home.single_sign_on_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise HomeError(
            f"the identity provider's secret is not in {str(home.single_sign_on_file)!r}: {error}"
        ) from error
    return Provider(
        issuer=settings.issuer, client_id=settings.client_id, client_secret=SecretStr(secret), title=settings.title
    )
