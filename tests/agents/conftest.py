"""What the agent's tests share: a site's folder, its store, people."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.home import Home, SiteSettings, create_home
from agents.store import Store
from agents.store.people import add_person
from agents.store.tables import Person, Role


@pytest.fixture
def home(tmp_path: Path) -> Home:
    settings = SiteSettings(site="north", registry_url="http://127.0.0.1:9")
    return create_home(tmp_path / "home", settings, "assay_1_secret")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.store_file)
    yield store
    store.close()


@pytest.fixture
def person(store: Store) -> Callable[[Role], Person]:
    """Somebody with a role; each call another person."""
    count = 0

    def make(role: Role) -> Person:
        nonlocal count
        count += 1
        with store.write() as session:
            return add_person(session, email=f"p{count}@north.example", name=f"Person {count}", role=role)[0]

    return make


@pytest.fixture
def owner(person: Callable[[Role], Person]) -> Person:
    return person(Role.DATA_OWNER)
