"""A site without a network, and the connected place that acts for it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents.bundles.keys import SigningKey, signing_key
from agents.bundles.settings import BundleSettings
from agents.home import SiteSettings, create_home
from agents.site import Site
from tests.small_registry import TOKEN, SmallRegistry


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """Of the connected place."""
    return signing_key(tmp_path / "connected.key")


@pytest.fixture
def connected(tmp_path: Path, registry: SmallRegistry) -> Iterator[Site]:
    """A place with a network that acts for the site."""
    settings = SiteSettings(site="north", registry_url=registry.url)
    with closing(Site(create_home(tmp_path / "connected", settings, TOKEN).path)) as site:
        yield site


@pytest.fixture
def lonely(tmp_path: Path, key: SigningKey) -> Iterator[Site]:
    """The site itself: nothing answers where its registry should be."""
    settings = SiteSettings(
        site="north", registry_url="http://127.0.0.1:9", bundles=BundleSettings(keys=(key.public_pem,))
    )
    with closing(Site(create_home(tmp_path / "lonely", settings, TOKEN).path)) as site:
        yield site
