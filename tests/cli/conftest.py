"""What the tests of the command line share: a way to type commands, and a site with people, jobs and questions."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.store.tables import Role
from tests.cli.federation import Federation, federation
from tests.cli.support import Assay, Ended, Here, type_command


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No profile, no registry, no site: whatever the machine's own environment says."""
    for name in [name for name in os.environ if name.startswith("ASSAY_") or name in {"COLUMNS", "NO_COLOR"}]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def assay() -> Assay:
    """Type a command: through the entry point, as from a shell."""
    return type_command


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    site = Here(tmp_path / "site")
    yield site
    site.store.close()


@pytest.fixture
def signed_in(here: Here, monkeypatch: pytest.MonkeyPatch) -> Callable[[Role], None]:
    """Be somebody at the site from now on."""

    def become(role: Role) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[role])

    return become


@pytest.fixture
def owner(signed_in: Callable[[Role], None]) -> None:
    """Signed in at the site as a data owner."""
    signed_in(Role.DATA_OWNER)


@pytest.fixture
def operator(signed_in: Callable[[Role], None]) -> None:
    """Signed in at the site as an operator."""
    signed_in(Role.OPERATOR)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A registry that listens, shared: tests add to it under names of their own."""
    with federation(tmp_path_factory.mktemp("federation")) as there:
        yield there


@pytest.fixture
def at(registry: Federation, assay: Assay, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Type a command as somebody of the federation: `at("mel", "model", "list")`."""

    def run(who: str, *words: str | Path, stdin: str = "") -> Ended:
        monkeypatch.setenv("ASSAY_REGISTRY_URL", registry.url)
        monkeypatch.setenv("ASSAY_TOKEN", registry.tokens[who])
        return assay(*words, stdin=stdin)

    return run
