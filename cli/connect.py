"""Connections that a command needs: to the registry as a person, to a site's store as one of its people."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cli import profiles
from cli.errors import ConflictError, NotFoundError, NotSetUpError

if TYPE_CHECKING:
    from agents.home import Home
    from agents.site import Site
    from agents.store import Store
    from agents.store.tables import Person
    from api.client import RegistryClient

Item_co = TypeVar("Item_co", covariant=True)


@contextmanager
def registry() -> "Iterator[RegistryClient]":
    """The registry of the profile in force.

    Raises:
        NotSetUpError, NotSignedInError: the profile names no registry, or holds no token for it.
    """
    from api.client import RegistryClient

    url, token = profiles.current().registry()
    with RegistryClient(url, token) as client:
        yield client


@dataclass(frozen=True, slots=True)
class AtSite:
    """A site's folder and store, and who is asking."""

    home: "Home"
    store: "Store"
    person: "Person"


@contextmanager
def site_store(right: str = "look") -> Iterator[AtSite]:
    """The store of the site of the profile in force, as one of its people.

    Args:
        right: what the person must be allowed: `look`, `start` or `decide`.

    Raises:
        NotSetUpError, NotSignedInError: the profile names no site, or holds no token for it.
        agents.errors.AgentError: not a site's folder, a token that is not valid, a role that does not reach.
    """
    from agents.store.people import require, sign_in

    profile = profiles.current()
    with opened_store() as (home, store):
        with store.read() as session:
            person = sign_in(session, profile.person())
        require(person, right)
        yield AtSite(home, store, person)


@contextmanager
def opened_store() -> "Iterator[tuple[Home, Store]]":
    """The site's store for whoever may read its folder: the host's own administrator.

    Raises:
        NotSetUpError: the profile names no site.
        agents.errors.HomeError: the folder is not a site's.
    """
    from agents.home import Home
    from agents.store import Store

    home = Home(profiles.current().home().resolve())
    home.settings()
    store = Store(home.store_file)
    try:
        yield home, store
    finally:
        store.close()


@contextmanager
def site() -> "Iterator[Site]":
    """The whole site: its runtime, cubes and border. What they log goes to stderr, and only when something is wrong."""
    from agents.site import Site

    here = Site(profiles.current().home())
    try:
        with quiet_logs():
            yield here
    finally:
        here.close()


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Logs go to stderr, and only when something is wrong: stdout belongs to the command's answer."""
    import structlog

    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def benchmark_names(home: "Home") -> dict[int, str]:
    """Numbers to names of the benchmarks that the registry last told the site of; empty before it did."""
    from api.schemas.records import SiteWork

    try:
        work = SiteWork.model_validate_json(home.work_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {benchmark.benchmark_id: benchmark.name for benchmark in work.benchmarks}


def at_site(wanted: bool | None) -> bool:  # noqa: FBT001 - the tri-state of `--site/--registry`
    """Whether a command looks at the site: as asked, or when a site is named.

    Raises:
        NotSetUpError: neither a site nor a registry is named.
    """
    profile = profiles.current()
    if wanted is None and not profile.site_home and not profile.registry_url:
        raise NotSetUpError(
            "neither a registry nor a site is named: run `assay login --registry URL` or `assay login --site FOLDER`"
        )
    return bool(profile.site_home) if wanted is None else wanted


class _Noun(Protocol[Item_co]):
    """What `find` needs of a noun of the client."""

    def get(self, identifier: int) -> Item_co: ...

    def list(self, **filters: Any) -> Any: ...


def find(noun: _Noun[Item_co], word: str, reference: str, *, key: str = "name") -> Item_co:
    """One thing of the registry by its number or its name.

    Raises:
        NotFoundError: nothing has that name.
        ConflictError: several have.
    """
    if reference.isdigit():
        return noun.get(int(reference))
    found = [item for item in noun.list(**{key: reference}).items if getattr(item, key) == reference]
    if not found:
        raise NotFoundError(f"there is no {word} {reference!r} at the registry: see `assay {word} list`")
    if len(found) > 1:
        numbers = ", ".join(str(item.id) for item in found)
        raise ConflictError(f"several are called {reference!r}: name the {word} by its number ({numbers})")
    return found[0]  # type: ignore[no-any-return]  # pages of the client hold what `get` returns
