"""A site on this host under examination: what is well, and every fault with its fix."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.doctor import Finding, Level, examine
from agents.doctor.host import check_disk
from agents.doctor.registry import judge_clock
from agents.home import Home, SiteSettings, create_home
from agents.locks import only_agent
from api.schemas.records import SiteWork
from tests.small_registry import TOKEN, SmallRegistry

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_work: SiteWork) -> Iterator[tuple[Home, SmallRegistry]]:
    """A site that lacks nothing but a running agent."""
    registry = SmallRegistry(empty_work)
    registry.start()
    settings = SiteSettings(site="north", registry_url=registry.url)
    yield create_home(tmp_path_factory.mktemp("north") / "home", settings, TOKEN), registry
    registry.stop()


@pytest.fixture(scope="module")
def found(whole: tuple[Home, SmallRegistry]) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(whole[0].path)}


@pytest.fixture
def site(tmp_path: Path, registry: SmallRegistry) -> Home:
    return create_home(tmp_path / "home", SiteSettings(site="north", registry_url=registry.url), TOKEN)


def until(home: Home, check: str) -> Finding:
    """The finding of one check; what comes after it is not looked at."""
    return next(finding for finding in examine(home.path) if finding.check == check)


class TestWell:
    def test_every_check_is_made(self, found: dict[str, Finding]) -> None:
        assert list(found) == [
            "settings",
            "storage",
            "disk",
            "agent",
            "registry",
            "clock",
            "registry token",
            "step",
            "isolation",
        ]

    def test_nothing_fails(self, found: dict[str, Finding]) -> None:
        assert [finding for finding in found.values() if finding.level == Level.FAIL] == []

    def test_what_is_well_needs_no_fix_and_what_is_not_has_one(self, found: dict[str, Finding]) -> None:
        for finding in found.values():
            assert bool(finding.fix) == (finding.level != Level.OK), finding
            assert finding.said

    def test_an_agent_that_does_not_run_is_a_warning(self, found: dict[str, Finding]) -> None:
        assert found["agent"].level == Level.WARN
        assert "assay agent start" in found["agent"].fix

    def test_it_leaves_nothing_behind(self, whole: tuple[Home, SmallRegistry], found: dict[str, Finding]) -> None:
        home, registry = whole
        assert found
        assert not list(home.path.glob(".doctor-*"))
        assert not list((home.path / "work").glob("doctor-*"))
        assert not home.probe_file.exists()
        assert not home.work_file.exists()
        assert registry.taken == []


class TestSettings:
    def test_a_folder_that_is_none_is_told_and_nothing_else(self, tmp_path: Path) -> None:
        [finding] = examine(tmp_path)
        assert (finding.check, finding.level) == ("settings", Level.FAIL)
        assert "assay agent init" in finding.fix

    def test_a_key_that_is_not_known_is_named(self, site: Home) -> None:
        site.settings_file.write_text(site.settings_file.read_text() + "no_such_key = 1\n")
        [finding] = examine(site.path)
        assert "no_such_key" in finding.said


class TestStorage:
    def test_a_folder_open_to_others_fails(self, site: Home) -> None:
        site.path.chmod(0o755)
        finding = until(site, "storage")
        assert finding.level == Level.FAIL
        assert "chmod 700" in finding.fix

    @pytest.mark.parametrize(("free", "level"), [(1 << 20, Level.FAIL), (5 << 30, Level.WARN), (900 << 30, Level.OK)])
    def test_a_disk_is_judged_by_what_is_free(
        self, site: Home, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
    ) -> None:
        whole = os.statvfs_result((4096, 4096, 1 << 28, free >> 12, free >> 12, 1, 1, 1, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _path: whole)
        assert check_disk(site).level == level


class TestAgent:
    def test_one_that_is_starting_says_so(self, site: Home) -> None:
        with only_agent(site):
            finding = until(site, "agent")
        assert finding.level == Level.WARN
        assert "starting" in finding.said

    def test_a_prefect_that_does_not_answer_fails(self, site: Home) -> None:
        site.prefect_url_file.write_text("http://127.0.0.1:9/api\n")
        with only_agent(site):
            finding = until(site, "agent")
        assert finding.level == Level.FAIL
        assert "127.0.0.1:9" in finding.said


class TestRegistry:
    def test_one_that_is_away_is_named_with_the_way_there(self, site: Home, registry: SmallRegistry) -> None:
        registry.stop()
        finding = until(site, "registry")
        assert finding.level == Level.FAIL
        assert registry.url in finding.said
        assert "firewall" in finding.fix

    def test_a_token_that_it_does_not_know_fails(self, site: Home, registry: SmallRegistry) -> None:
        registry.token = "another"
        finding = until(site, "registry token")
        assert finding.level == Level.FAIL
        assert "assay site token" in finding.fix

    def test_a_token_that_others_can_read_is_not_even_shown(self, site: Home) -> None:
        site.token_file.chmod(0o644)
        checks = {finding.check: finding for finding in _up_to(site, "registry token")}
        assert "readable by others" in checks["registry token"].said
        assert "registry" not in checks

    def test_a_clock_that_is_wrong_is_told(self, site: Home, registry: SmallRegistry) -> None:
        registry.clock_is_off = timedelta(hours=-2)
        finding = until(site, "clock")
        assert finding.level == Level.FAIL
        assert "NTP" in finding.fix

    @pytest.mark.parametrize(
        ("off_s", "level"),
        [(0, Level.OK), (20, Level.OK), (-20, Level.OK), (60, Level.WARN), (-60, Level.WARN), (400, Level.FAIL)],
    )
    def test_a_clock_is_judged_by_how_far_it_is(self, off_s: int, level: Level) -> None:
        said = (MOMENT + timedelta(seconds=off_s)).isoformat()
        assert judge_clock(said, MOMENT, MOMENT).level == level

    def test_a_slow_answer_is_no_wrong_clock(self) -> None:
        said = (MOMENT + timedelta(seconds=100)).isoformat()
        assert judge_clock(said, MOMENT, MOMENT + timedelta(seconds=200)).level == Level.OK


class TestSteps:
    def test_a_runtime_that_is_away_fails_and_isolation_is_not_asked(
        self, tmp_path: Path, registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        settings = SiteSettings(site="north", registry_url=registry.url, runtime="docker")
        home = create_home(tmp_path / "home", settings, TOKEN)
        checks = {finding.check: finding for finding in examine(home.path)}
        last = list(checks)[-1]
        assert last in {"step", "runtime"}
        assert checks[last].level == Level.FAIL
        assert checks[last].fix

    def test_a_cluster_that_is_not_there_fails_before_any_step(
        self, tmp_path: Path, registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
        home = create_home(tmp_path / "home", kubernetes_site(registry.url, tmp_path), TOKEN)
        checks = {finding.check: finding for finding in examine(home.path)}
        assert checks["cluster"].level == checks["step"].level == Level.FAIL
        assert "KUBECONFIG" in checks["cluster"].fix
        assert "isolation" not in checks


def kubernetes_site(url: str, path: Path) -> SiteSettings:
    table = {
        "namespace": "assay-site",
        "image": "registry.example.org/python@sha256:" + "0" * 64,
        "volumes": [{"path": str(path), "claim": "assay-site"}],
    }
    return SiteSettings.model_validate(
        {"site": "north", "registry_url": url, "runtime": "kubernetes", "kubernetes": table}
    )


def _up_to(home: Home, check: str) -> Iterator[Finding]:
    for finding in examine(home.path):
        yield finding
        if finding.check == check:
            return


@pytest.fixture(scope="module")
def empty_work() -> SiteWork:
    return SiteWork.model_validate({"site_id": 1, "benchmarks": [], "audit_head": {"sequence": 1, "head": "0" * 64}})
