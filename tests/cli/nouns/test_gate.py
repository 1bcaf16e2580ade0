"""At a site: what waits, exactly what is asked, and an answer that is bound to it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from agents.store.gates import decision_of, open_gate
from agents.store.tables import Gate, Role
from tests.cli.support import Assay, Here

SHOWN: dict[str, Any] = {
    "items": [
        {"item": "11", "model": "forest", "metrics": {"auroc": 0.91}},
        {"item": "12", "model": "logistic", "metrics": {"auroc": 0.89}},
    ]
}


@pytest.fixture
def gate(here: Here) -> Gate:
    return here.gate(SHOWN, title="Send these results?")


@pytest.mark.usefixtures("owner")
class TestList:
    def test_people_see_what_waits(self, assay: Assay, gate: Gate) -> None:
        out = assay("gate", "list").out
        assert gate.id[:8] in out
        assert "Send these results?" in out

    def test_machines_see_all_of_it(self, assay: Assay, gate: Gate) -> None:
        (found,) = assay("gate", "list", "--json").json
        assert (found["id"], found["digest"], found["shown"]) == (gate.id, gate.digest, SHOWN)

    @pytest.mark.usefixtures("gate")
    def test_what_is_decided_waits_no_more(self, assay: Assay, gate: Gate) -> None:
        assay("gate", "approve", gate.id, "-r", "seen", "--yes")
        assert assay("gate", "list").out == "Nothing waits for you.\n"
        assert [item["state"] for item in assay("gate", "list", "--all", "--json").json] == ["decided"]


@pytest.mark.usefixtures("owner")
class TestShow:
    def test_everything_and_the_digest(self, assay: Assay, gate: Gate) -> None:
        out = assay("gate", "show", gate.id[:6]).out
        for expected in ("Send these results?", "forest", "logistic", "0.91", "0.89", gate.digest):
            assert expected in out

    def test_who_decided(self, assay: Assay, gate: Gate) -> None:
        assay("gate", "approve", gate.id, "-r", "looked at both", "--withhold", "logistic", "--yes")
        out = assay("gate", "show", gate.id).out
        assert "approve by Data_Owner <data_owner@north.example>" in out
        assert "looked at both Left out: 12." in out
        assert assay("gate", "show", gate.id, "--json").json["decisions"][0]["withheld"] == ["12"]

    def test_what_is_not_there_is_five(self, assay: Assay) -> None:
        ended = assay("gate", "show", "abcdef")
        assert ended.code == 5
        assert "'abcdef'" in ended.err


@pytest.mark.usefixtures("owner")
class TestApprove:
    def test_with_the_digest_that_was_shown(self, assay: Assay, here: Here, gate: Gate) -> None:
        ended = assay("gate", "approve", gate.id, "--reason", "fine", "--digest", gate.digest)
        assert ended.code == 0
        assert gate.digest in ended.out
        with here.store.read() as session:
            decision = decision_of(session, gate.id)
        assert decision is not None
        assert (decision.verdict.value, decision.digest, decision.reason) == ("approve", gate.digest, "fine")

    def test_with_another_digest_is_six_and_nothing_is_decided(self, assay: Assay, here: Here, gate: Gate) -> None:
        ended = assay("gate", "approve", gate.id, "-r", "fine", "--digest", "sha256:" + "0" * 64)
        assert ended.code == 6
        assert gate.digest in ended.err
        with here.store.read() as session:
            assert decision_of(session, gate.id) is None

    def test_without_one_it_is_shown_first(self, assay: Assay, gate: Gate) -> None:
        out = assay("gate", "approve", gate.id, "-r", "fine", "--yes").out
        assert out.index("forest") < out.index(gate.digest) < out.index("Approved")

    def test_where_nobody_can_be_asked_it_is_refused(self, assay: Assay, here: Here, gate: Gate) -> None:
        ended = assay("gate", "approve", gate.id, "-r", "fine")
        assert ended.code == 7
        assert "--yes" in ended.err
        with here.store.read() as session:
            assert decision_of(session, gate.id) is None

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
    def test_on_a_terminal_one_is_asked(
        self, assay: Assay, gate: Gate, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
    ) -> None:
        class Terminal:
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr("cli.gatekeeping.sys", type("sys", (), {"stdin": Terminal()}))
        ended = assay("gate", "approve", gate.id, "-r", "fine", stdin=answer)
        assert ended.code == code
        assert "Approve exactly this? [y/N]" in ended.out

    def test_items_are_left_out_by_number_or_model(self, assay: Assay, gate: Gate) -> None:
        done = assay(
            "gate", "approve", gate.id, "-r", "x", "--yes", "--json", "--withhold", "forest", "--withhold", "12"
        )
        assert done.json["withheld"] == ["11", "12"]

    def test_an_item_that_is_not_there_is_seven(self, assay: Assay, gate: Gate) -> None:
        ended = assay("gate", "approve", gate.id, "-r", "x", "--yes", "--withhold", "mlp")
        assert ended.code == 7
        assert "11 (forest), 12 (logistic)" in ended.err

    def test_twice_is_six(self, assay: Assay, gate: Gate) -> None:
        assay("gate", "approve", gate.id, "-r", "x", "--yes")
        assert assay("gate", "reject", gate.id, "-r", "x", "--yes").code == 6

    def test_json_is_the_decision_alone(self, assay: Assay, gate: Gate) -> None:
        done = assay("gate", "approve", gate.id, "-r", "x", "--yes", "--json").json
        assert (done["gate_id"], done["digest"]) == (gate.id, gate.digest)

    def test_what_changed_meanwhile_is_not_approved(self, assay: Assay, here: Here, gate: Gate) -> None:
        with here.store.write() as session:
            open_gate(
                session, name=gate.name, title="x", subject="x", shown={"items": []}, flow_run_id=gate.flow_run_id
            )
        ended = assay("gate", "approve", gate.id, "-r", "x", "--digest", gate.digest)
        assert ended.code == 6
        assert "superseded" in ended.err


@pytest.mark.usefixtures("owner")
class TestReject:
    def test_is_written_with_its_reason(self, assay: Assay, gate: Gate) -> None:
        done = assay("gate", "reject", gate.id, "-r", "too few cases", "--yes", "--json").json
        assert (done["verdict"], done["reason"]) == ("reject", "too few cases")


class TestMay:
    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
    def test_the_wrong_role_is_four(
        self, assay: Assay, gate: Gate, signed_in: Callable[[Role], None], role: Role
    ) -> None:
        signed_in(role)
        ended = assay("gate", "approve", gate.id, "-r", "x", "--yes")
        assert ended.code == 4
        assert role.value in ended.err

    def test_without_a_token_is_three(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))
        ended = assay("gate", "list")
        assert ended.code == 3
        assert "assay login --site" in ended.err

    def test_with_a_strange_token_is_three(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))
        monkeypatch.setenv("ASSAY_SITE_TOKEN", "assay_site_unknown")
        assert assay("gate", "list").code == 3

    def test_a_folder_that_is_no_site_is_eleven(self, assay: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", sys.prefix)
        monkeypatch.setenv("ASSAY_SITE_TOKEN", "x")
        ended = assay("gate", "list")
        assert ended.code == 11
        assert "assay agent init" in ended.err
