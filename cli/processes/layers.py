"""What stands in front of Prefect's server, put together from those who keep people and gates."""

from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from agents.desk import SiteGates, SitePeople
from agents.errors import HomeError
from agents.home import Home, read_private
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
    settings, store = place.settings(), Store(place.store_file)
    single = settings.sign_in
    return SignIn(
        name=settings.site,
        people=SitePeople(store),
        gates=SiteGates(store),
        ledger=Ledger(place.ledger_file),
        service_token=service_token,
        provider=_provider(single.issuer, single.client_id, single.title, place.single_sign_on_file),
        session_life=timedelta(hours=single.session_hours),
    ).layer()


def registry_layer(data: str, database_url: str, service_token: str) -> Layer:
    """The registry's: its people and gates are those of its database; what else there is to set says its environment.

    Args:
        data: the registry's folder.
        database_url: of its database; empty for the file in the folder.
        service_token: of the dispatcher and the runner of reviews beside the server.

    Raises:
        SettingsError: unsafe or incomplete settings.
        HomeError: the identity provider's secret is missing.
    """
    # A site's server has no need of the registry's modules.
    from api.core.audit import AuditLog
    from api.core.settings import RegistrySettings
    from api.desk import RegistryGates, RegistryPeople
    from api.storage.engine import make_engine

    settings = RegistrySettings(data=Path(data), database_url=database_url or None)
    engine = make_engine(settings.url)
    return SignIn(
        name="registry",
        people=RegistryPeople(engine),
        gates=RegistryGates(engine, AuditLog(settings.audit_key())),
        ledger=Ledger(settings.ledger_file),
        service_token=service_token,
        provider=_provider(settings.issuer, settings.client_id, settings.provider_title, settings.single_sign_on_file),
        session_life=timedelta(hours=settings.session_hours),
    ).layer()


def _provider(issuer: str | None, client_id: str, title: str, secret_file: Path) -> Provider | None:
    if issuer is None:
        return None
    try:
        secret = read_private(secret_file)
    except FileNotFoundError:
        raise HomeError(f"the identity provider's secret is not in {str(secret_file)!r}: write it there") from None
    return Provider(issuer=issuer, client_id=client_id, client_secret=SecretStr(secret), title=title)
