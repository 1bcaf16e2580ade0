"""A site's folder, its people and its process, from the command line."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.home import Home
from agents.running import agent_process
from agents.store import outbox
from agents.store.tables import Role
from api.schemas.border import Heartbeat, Isolation, PayloadKind, ProbeOutcome
from api.schemas.records import AuditHead
from api.storage.columns import now
from tests.cli.support import Assay, Here

_HOLD = """
import sys, time
from pathlib import Path
from agents.home import Home
from agents.locks import only_agent
with only_agent(Home(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def running(here: Here) -> Iterator[subprocess.Popen[str]]:
    """Another process that is this site's agent, as far as its lock says."""
    command = [sys.executable, "-c", _HOLD, str(here.home.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


class TestInit:
    def test_makes_a_folder_that_only_its_owner_reads(self, assay: Assay, tmp_path: Path) -> None:
        words = ("--registry", "http://registry", "--site", "north", "--token", "secret", "--slots", "3")
        ended = assay("agent", "init", "--home", tmp_path / "n", *words)
        assert ended.code == 0
        assert "assay agent people add" in ended.out
        home = Home(tmp_path / "n")
        assert (home.settings().site, home.settings().slots, home.token()) == ("north", 3, "secret")
        assert home.path.stat().st_mode & 0o077 == 0

    def test_the_token_may_come_from_stdin(self, assay: Assay, tmp_path: Path) -> None:
        words = ("--registry", "http://registry", "--site", "north", "--json")
        ended = assay("agent", "init", "--home", tmp_path / "n", *words, stdin="from-stdin\n")
        assert ended.json["site"] == "north"
        assert Home(tmp_path / "n").token() == "from-stdin"
        assert "from-stdin" not in ended.out

    def test_without_a_token_nothing_is_made(self, assay: Assay, tmp_path: Path) -> None:
        ended = assay("agent", "init", "--home", tmp_path / "n", "--registry", "http://r", "--site", "north")
        assert ended.code == 7
        assert not (tmp_path / "n").exists()

    def test_twice_is_eleven(self, assay: Assay, here: Here) -> None:
        words = ("--registry", "http://r", "--site", "north", "--token", "t")
        assert assay("agent", "init", "--home", here.home.path, *words).code == 11


class TestConfigure:
    @pytest.fixture
    def given(self, tmp_path: Path) -> Path:
        """A folder with settings and one with secrets, as a cluster mounts them."""
        secrets = tmp_path / "given" / "secrets"
        secrets.mkdir(parents=True)
        (secrets / "registry.token").write_text("secret\n")
        (secrets / "other").write_text("not ours")
        (tmp_path / "given" / "site.toml").write_text('site = "north"\nregistry_url = "https://registry.example"\n')
        return tmp_path / "given"

    def _words(self, home: Path, given: Path) -> tuple[str | Path, ...]:
        return ("agent", "configure", "--home", home, "--settings", given / "site.toml", "--secrets", given / "secrets")

    def test_makes_a_folder_that_only_its_owner_reads(self, assay: Assay, tmp_path: Path, given: Path) -> None:
        ended = assay(*self._words(tmp_path / "n", given))
        assert ended.code == 0, ended.err
        home = Home(tmp_path / "n")
        assert (home.settings().site, home.token()) == ("north", "secret")
        assert home.path.stat().st_mode & 0o077 == home.token_file.stat().st_mode & 0o077 == 0
        assert [path.name for path in (home.path / "secrets").iterdir()] == ["registry.token"]

    def test_again_takes_what_has_changed_and_leaves_the_rest(self, assay: Assay, tmp_path: Path, given: Path) -> None:
        assay(*self._words(tmp_path / "n", given))
        home = Home(tmp_path / "n")
        home.work_file.write_text("kept")
        (given / "site.toml").write_text('site = "north"\nregistry_url = "https://other.example"\nslots = 7\n')
        (given / "secrets" / "registry.token").write_text("renewed")
        (given / "secrets" / "hub.token").write_text("hub")
        assert assay(*self._words(home.path, given)).code == 0
        assert (home.settings().slots, home.token(), home.work_file.read_text()) == (7, "renewed", "kept")
        assert home.hub_token_file.read_text() == "hub"

    def test_keys_of_endpoints_come_and_go_as_the_others(self, assay: Assay, tmp_path: Path, given: Path) -> None:
        settings = (given / "site.toml").read_text()
        cube = f"sha256:{'0' * 64}"
        endpoint = f'[endpoints.vision]\nurl = "https://vision.example"\nsecret = "vision.key"\ncubes = ["{cube}"]\n'
        (given / "site.toml").write_text(settings + endpoint)
        for name in ("hub.token", "vision.key", "unknown"):
            (given / "secrets" / name).write_text("given")
        assay(*self._words(tmp_path / "n", given))
        secrets = tmp_path / "n" / "secrets"
        (secrets / "bundle.key").write_text("made here")
        assert {path.name for path in secrets.iterdir()} == {"bundle.key", "hub.token", "registry.token", "vision.key"}
        (given / "site.toml").write_text(settings)
        (given / "secrets" / "hub.token").unlink()
        (given / "secrets" / "vision.key").unlink()
        assert assay(*self._words(tmp_path / "n", given)).code == 0
        assert {path.name for path in secrets.iterdir()} == {"bundle.key", "registry.token"}

    def test_another_sites_settings_are_refused(self, assay: Assay, tmp_path: Path, given: Path) -> None:
        assay(*self._words(tmp_path / "n", given))
        (given / "site.toml").write_text('site = "south"\nregistry_url = "https://registry.example"\n')
        ended = assay(*self._words(tmp_path / "n", given))
        assert ended.code == 11
        assert "'north'" in ended.err
        assert "'south'" in ended.err
        assert Home(tmp_path / "n").settings().site == "north"

    @pytest.mark.parametrize("text", ['site = "north"', "site = ", 'site="n1"\nregistry_url="x"\nno_such_key = 1'])
    def test_settings_that_are_none_make_nothing(self, assay: Assay, tmp_path: Path, given: Path, text: str) -> None:
        (given / "site.toml").write_text(text)
        assert assay(*self._words(tmp_path / "n", given)).code == 11
        assert not (tmp_path / "n").exists()

    def test_without_a_token_it_says_so(self, assay: Assay, tmp_path: Path, given: Path) -> None:
        (given / "secrets" / "registry.token").unlink()
        ended = assay(*self._words(tmp_path / "n", given))
        assert ended.code == 11
        assert "assay site token" in ended.err


class TestPeople:
    def _at(self, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))

    def test_the_token_shown_once_signs_them_in(
        self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._at(here, monkeypatch)
        words = ("agent", "people", "add", "Ada@north.example", "--name", "Ada", "--role", "data_owner")
        made = assay(*words, "--json").json
        assert made["email"] == "ada@north.example"
        monkeypatch.setenv("ASSAY_SITE_TOKEN", made["token"])
        assert assay("whoami", "--json").json["site"]["role"] == "data_owner"
        assert made["token"] not in assay("agent", "people", "list", "--json").out

    def test_list_says_until_when(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at(here, monkeypatch)
        out = assay("agent", "people", "list").out
        assert all(f"{role.value}@north.example" in out for role in Role)
        assert "token_hash" not in assay("agent", "people", "list", "--json").out

    def test_renewing_ends_the_old_token(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at(here, monkeypatch)
        assert "shown this once" in assay("agent", "people", "renew", "viewer@north.example").out
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.VIEWER])
        assert assay("gate", "list").code == 3

    def test_revoking_ends_it_without_another(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at(here, monkeypatch)
        assay("agent", "people", "revoke", "viewer@north.example")
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.VIEWER])
        ended = assay("gate", "list")
        assert ended.code == 3
        assert "revoked" in ended.err

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("add", "viewer@north.example", "--name", "V", "--role", "viewer"), 6),
            (("add", "no-address", "--name", "V", "--role", "viewer"), 7),
            (("add", "x@y.example", "--name", "V", "--role", "king"), 2),
            (("renew", "nobody@north.example"), 5),
            (("revoke", "nobody@north.example"), 5),
        ],
        ids=lambda value: value if isinstance(value, int) else value[0],
    )
    def test_what_goes_wrong(
        self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
    ) -> None:
        self._at(here, monkeypatch)
        assert assay("agent", "people", *words).code == code


@pytest.mark.usefixtures("owner")
class TestStatus:
    def test_of_a_site_that_never_ran(self, assay: Assay) -> None:
        found = assay("agent", "status", "--json").json
        assert found["site"] == "north"
        assert found["agent_process"] is None
        assert found["last_heard_from_registry"] is None
        assert found["probe"] is None
        assert "site" in assay("agent", "status").out

    def test_counts_what_runs_waits_and_is_to_leave(self, assay: Assay, here: Here) -> None:
        here.tell()
        here.job()
        here.gate({"x": 1})
        probe = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"network": True}, probed_at=now())
        here.home.probe_file.write_text(probe.model_dump_json(), encoding="utf-8")
        beat = Heartbeat(sent_at=now(), agent_version="1", running=0, waiting_gates=0, probe=probe)
        with here.store.write() as session:
            outbox.enqueue(session, PayloadKind.HEARTBEAT, beat, subject="north", key="heartbeat-1")
        found = assay("agent", "status", "--json").json
        assert (found["live_jobs"], found["waiting_gates"], found["outbox_queued"]) == (1, 1, 1)
        assert "deny probe of runtime process: isolated" in assay("agent", "status").out

    def test_names_the_newest_head_of_the_audit_log(self, assay: Assay, here: Here) -> None:
        from agents.store.heads import keep_head  # noqa: PLC0415 - beside its only use

        with here.store.write() as session:
            keep_head(session, AuditHead(sequence=5, head="ab" * 32))
        assert assay("agent", "status", "--json").json["newest_audit_head"] == {"sequence": 5, "head": "ab" * 32}

    def test_names_the_process_that_is_the_agent(
        self, assay: Assay, here: Here, running: subprocess.Popen[str]
    ) -> None:
        assert agent_process(here.home) == running.pid
        assert assay("agent", "status", "--json").json["agent_process"] == running.pid


class TestStop:
    def test_ends_the_agent_and_waits_for_it(self, assay: Assay, here: Here, running: subprocess.Popen[str]) -> None:
        ended = assay("agent", "stop", "--home", here.home.path)
        assert f"process {running.pid}" in ended.out
        assert running.wait(60) != 0
        assert agent_process(here.home) is None

    def test_where_none_runs_it_is_five(self, assay: Assay, here: Here) -> None:
        assert assay("agent", "stop", "--home", here.home.path).code == 5

    def test_a_number_left_by_a_dead_agent_is_no_agent(self, assay: Assay, here: Here) -> None:
        here.home.agent_lock.write_text("1\n", encoding="ascii")  # a process that lives, and holds no lock of ours
        assert assay("agent", "stop", "--home", here.home.path).code == 5


@pytest.mark.usefixtures("operator")
class TestProbe:
    def test_says_what_held_and_keeps_it(self, assay: Assay, here: Here) -> None:
        ended = assay("agent", "probe", "--json")
        kept = json.loads(here.home.probe_file.read_text(encoding="utf-8"))
        assert ended.json["checks"] == kept["checks"]
        assert ended.code == (0 if kept["isolation"] == "isolated" else 10)

    def test_a_host_that_does_not_isolate_is_ten(self, assay: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
        open_host = ProbeOutcome(
            runtime="process",
            isolation=Isolation.NOT_ISOLATED,
            checks={"network": False, "root": True},
            probed_at=now(),
        )
        monkeypatch.setattr("agents.site.Site.probe", lambda _: open_host)
        ended = assay("agent", "probe")
        assert ended.code == 10
        assert "(network)" in ended.err
        assert "failed" in ended.out

    @pytest.mark.usefixtures("running")
    def test_beside_an_agent_its_own_word_stands(self, assay: Assay, here: Here) -> None:
        """Whoever types this may have other rights than the agent."""
        here.home.probe_file.write_text("the agent's", encoding="utf-8")
        assert "isolation" in assay("agent", "probe", "--json").json
        assert here.home.probe_file.read_text(encoding="utf-8") == "the agent's"

    def test_a_viewer_may_not(self, assay: Assay, signed_in: Callable[[Role], None]) -> None:
        signed_in(Role.VIEWER)
        assert assay("agent", "probe").code == 4


@pytest.mark.usefixtures("operator")
class TestOutbox:
    def test_a_refused_payload_is_tried_again(self, assay: Assay, here: Here) -> None:
        probe = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={}, probed_at=now())
        beat = Heartbeat(sent_at=now(), agent_version="1", running=0, waiting_gates=0, probe=probe)
        with here.store.write() as session:
            item = outbox.enqueue(session, PayloadKind.HEARTBEAT, beat, subject="north", key="heartbeat-1")
            outbox.mark_refused(session, item.id or 0, "no such site")
        assert "no such site" in assay("agent", "outbox").out
        (again,) = assay("agent", "outbox", "--retry", str(item.id), "--json").json
        assert again["state"] == "queued"

    def test_nothing_refused_of_that_number_is_five(self, assay: Assay) -> None:
        assert assay("agent", "outbox", "--retry", "9").code == 5

    def test_all_gone(self, assay: Assay) -> None:
        assert assay("agent", "outbox").out == "Everything has left.\n"
