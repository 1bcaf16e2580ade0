"""What the agent sees to from time to time: each when it is due, and none kept from its turn by another."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from sqlmodel import select

from agents.errors import HomeError, StepFailedError
from agents.home import Home, SiteSettings
from agents.housekeeping import Housekeeping
from agents.locks import locked, only_agent
from agents.loop import RegistryLoop, queue_heartbeat
from agents.site import Site, current_site
from agents.store import outbox
from agents.store.tables import OutboxItem, OutboxState
from api.client import Unreachable
from api.schemas.border import Heartbeat, Isolation, PayloadKind, ProbeOutcome
from api.storage.columns import now
from tests.small_registry import SmallRegistry

PROBE = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"runs": True}, probed_at=now())


@pytest.fixture
def probed(site: Site) -> Site:
    site.home.probe_file.write_text(PROBE.model_dump_json())
    return site


class TestHousekeeping:
    def test_the_probe_is_run_again_when_it_is_due(self, probed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        house = Housekeeping(probed)
        house.tick()
        assert probed.last_probe() == PROBE  # the start of the agent ran one: not yet
        start = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: start + probed.settings.probe_every_s + 1)
        house.tick()
        assert probed.last_probe().probed_at > PROBE.probed_at
        assert "no_network" in probed.last_probe().checks

    def test_a_problem_of_one_does_not_keep_the_others(self, probed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise OSError("disk")

        monkeypatch.setattr(Housekeeping, "tidy", lambda _self: fail())
        done: list[str] = []
        monkeypatch.setattr(Housekeeping, "verify", lambda _self: done.append("verify"))
        house = Housekeeping(probed)
        with pytest.raises(OSError, match="disk"):
            house.tick()
        assert done == ["verify"]
        with pytest.raises(OSError, match="disk"):  # what failed is due again, what went well is not
            house.tick()
        assert done == ["verify"]

    def test_tidying_removes_what_a_dead_agent_left_and_old_heartbeats(self, probed: Site) -> None:
        folder = probed.home.folder("attempts") / "m-infer-abc-1"
        folder.mkdir()
        folder.with_name(folder.name + ".lock").touch()
        queue_heartbeat(probed)
        with probed.store.write() as session:
            item = session.exec(select(OutboxItem)).one()
            item.created_at, item.state = now() - timedelta(days=31), OutboxState.SENT
            session.add(item)
        Housekeeping(probed).tidy()
        assert not folder.exists()
        with probed.store.read() as session:
            assert session.exec(select(OutboxItem)).all() == []

    def test_a_new_agent_leaves_time_to_take_up_what_outlived_the_one_before(
        self, probed: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = probed.home.folder("attempts") / "m-infer-abc-1"
        folder.mkdir()
        folder.with_name(folder.name + ".lock").touch()
        os.utime(folder, (time.time() - 7200,) * 2)  # it has run for two hours
        monkeypatch.setattr(type(probed.runtime), "outlives_agent", True, raising=False)
        probed.runtime.outlives_agent = True
        Housekeeping(probed).tidy()
        assert folder.exists()


class TestIsolation:
    def test_no_probe_no_step(self, site: Site) -> None:
        with pytest.raises(StepFailedError, match="no deny probe was run"):
            site.require_isolation()

    def test_a_failed_probe_stops_steps_unless_the_operator_insists(self, probed: Site) -> None:
        failed = PROBE.model_copy(update={"isolation": Isolation.NOT_ISOLATED, "checks": {"no_network": False}})
        probed.home.probe_file.write_text(failed.model_dump_json())
        with pytest.raises(StepFailedError, match="no_network"):
            probed.require_isolation()
        probed.settings = probed.settings.model_copy(update={"allow_unisolated": True})
        assert probed.require_isolation() == failed

    @pytest.mark.parametrize("damage", ["", "{", "{}", json.dumps({"isolation": "isolated"})])
    def test_an_outcome_that_cannot_be_read_is_none(self, probed: Site, damage: str) -> None:
        probed.home.probe_file.write_text(damage)
        with pytest.raises(StepFailedError, match="no deny probe was run"):
            probed.last_probe()


class TestRegistryLoop:
    def test_a_round_says_that_the_site_lives_and_asks_what_to_do(self, probed: Site, registry: SmallRegistry) -> None:
        RegistryLoop(probed).tick()
        (beat,) = registry.taken
        assert Heartbeat.model_validate_json(beat.body).probe == PROBE
        assert probed.work() == registry.work

    def test_an_absent_registry_does_not_pile_up_heartbeats(self, probed: Site, registry: SmallRegistry) -> None:
        registry.stop()
        for _ in range(3):
            with pytest.raises(Unreachable):
                RegistryLoop(probed).tick()
        with probed.store.read() as session:
            assert outbox.waiting(session) == {"queued": 1}
        registry.start()
        RegistryLoop(probed).tick()
        assert [taken.kind for taken in registry.taken] == [PayloadKind.HEARTBEAT]

    def test_without_a_probe_the_outbox_is_still_sent(self, site: Site, registry: SmallRegistry) -> None:
        RegistryLoop(site).tick()
        assert registry.taken == []
        assert site.work() == registry.work


class TestLocks:
    def test_a_second_agent_is_refused_and_told_who_is_there(self, home: Home) -> None:
        with only_agent(home):
            program = (
                "import sys; from pathlib import Path; from agents.home import Home; from agents.locks import only_agent\n"
                "with only_agent(Home(Path(sys.argv[1]))): pass"
            )
            ended = subprocess.run(
                [sys.executable, "-c", program, str(home.path)], capture_output=True, text=True, check=False, timeout=60
            )
            assert ended.returncode == 1
            assert f"runs already (process {os.getpid()})" in ended.stderr
        with only_agent(home):
            pass

    def test_a_lock_is_free_again_after_an_error(self, home: Home) -> None:
        with pytest.raises(ValueError, match="x"), locked(home.path / "lock"):
            raise ValueError("x")
        with locked(home.path / "lock"):
            pass


class TestHome:
    @pytest.mark.parametrize("content", [b"\xff\xfe", b"site = 1", b"", b'site = "n"\nregistry_url = 1'])
    def test_settings_that_cannot_be_read_name_the_file(self, home: Home, content: bytes) -> None:
        home.settings_file.write_bytes(content)
        with pytest.raises(HomeError, match=r"site\.toml"):
            home.settings()

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
    def test_a_token_that_is_none_is_said(self, home: Home, content: bytes) -> None:
        home.token_file.write_bytes(content)
        with pytest.raises(HomeError, match="token"):
            home.token()

    def test_work_that_cannot_be_read_is_said(self, site: Site) -> None:
        site.home.work_file.write_text('{"site_id": 1}')
        with pytest.raises(HomeError, match="the agent fetches it again"):
            site.work()

    def test_a_process_without_a_site_is_told_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ASSAY_SITE_HOME", raising=False)
        with pytest.raises(HomeError, match="ASSAY_SITE_HOME"):
            current_site()

    def test_settings_have_sane_defaults(self) -> None:
        settings = SiteSettings(site="north", registry_url="https://registry.example")
        assert (settings.probe_every_s, settings.verify_full_every_s) == (86_400, 86_400)
