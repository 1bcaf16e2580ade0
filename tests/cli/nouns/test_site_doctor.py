"""A site's examination as people and machines read it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.home import Home, SiteSettings, create_home
from api.schemas.records import SiteWork
from tests.cli.support import Assay
from tests.small_registry import TOKEN, SmallRegistry


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    empty = {"site_id": 7, "benchmarks": [], "audit_head": {"sequence": 1, "head": "0" * 64}}
    registry = SmallRegistry(SiteWork.model_validate(empty))
    registry.start()
    yield create_home(tmp_path / "site", SiteSettings(site="north", registry_url=registry.url), TOKEN)
    registry.stop()


class TestDoctor:
    def test_a_site_that_is_well_ends_with_nought(self, assay: Assay, home: Home) -> None:
        ended = assay("site", "doctor", "--home", home.path)
        assert ended.code == 0, ended.out + ended.err
        assert "ok    registry token  the registry knows this site as number 7" in ended.out
        assert "-> run `assay agent start`" in ended.out

    def test_machines_get_every_check(self, assay: Assay, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(home.path))
        found = {each["check"]: each for each in assay("site", "doctor", "--json").json}
        assert found["isolation"]["level"] == "ok"
        assert set(found["disk"]) == {"check", "level", "said", "fix"}

    def test_a_failure_is_ten_and_named(self, assay: Assay, home: Home) -> None:
        home.token_file.unlink()
        ended = assay("site", "doctor", "--home", home.path)
        assert ended.code == 10
        assert "registry token" in ended.err
        assert "FAIL  registry token" in ended.out

    def test_a_failure_is_ten_for_machines_too(self, assay: Assay, tmp_path: Path) -> None:
        ended = assay("site", "doctor", "--home", tmp_path, "--json")
        assert ended.code == 10
        assert [each["level"] for each in ended.json] == ["fail"]
