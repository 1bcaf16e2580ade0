"""Cases of a staged preparation at the command line: looked at, opened, marked, gone on with, told of."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.staging import Stage, write_stage
from agents.store.datasets import add_dataset, update_dataset
from agents.store.gates import decisions_of, mark_waiting, open_gate
from agents.store.tables import DatasetState, Gate, Role
from api.schemas.border import PayloadKind, PreparationProgress
from api.storage.columns import now
from cubes.digests import canonical
from tests.cli.federation import Federation
from tests.cli.support import ROOT, Assay, Here, sha

REPORT = """
status: {a: -1, b: -1, c: 2}
status_name: {a: needs review, b: needs review, c: done}
comment: {a: "write \\x1b[31mreviewed below"}
labels_path: {a: /mlcommons/volumes/labels/drafts/a.txt, b: /etc/shadow}
data_path: {a: /mlcommons/volumes/raw_data/a.csv}
"""


@pytest.fixture
def folder(here: Here, tmp_path: Path) -> Path:
    """Of a preparation that has stopped for people."""
    here.tell()
    folder = here.home.folder("prepared") / "a1"
    (folder / "labels" / "drafts").mkdir(parents=True)
    (folder / "labels" / "drafts" / "a.txt").write_text("B")
    (folder / "report.yaml").write_text(REPORT)
    write_stage(folder, Stage(runs=1, waits=True))
    cube = here.home.folder("cubes") / sha("preparator").removeprefix("sha256:") / "content"
    shutil.copytree(ROOT / "tests" / "staged_preparator", cube)
    with here.store.write() as session:
        add_dataset(
            session,
            name="north-fna",
            title="North",
            benchmark_id=4,
            data_path=tmp_path,
            labels_path=tmp_path,
            requested_by=here.ids[Role.OPERATOR],
        )
        update_dataset(session, "north-fna", folder=str(folder), state=DatasetState.OUTSTANDING)
    return folder


@pytest.fixture
def gate(here: Here, folder: Path) -> Gate:
    assert folder
    with here.store.write() as session:
        found = open_gate(
            session,
            name="continue_preparation",
            title="Go on?",
            subject="north-fna",
            shown={"run": 1},
            flow_run_id="run-1",
        )
        mark_waiting(session, found.id)
    return found


@pytest.mark.usefixtures("operator", "folder")
class TestList:
    def test_which_wait_for_what(self, assay: Assay) -> None:
        found = assay("dataset", "cases", "list", "north-fna", "--json").json
        assert [(case["name"], case["status"], case["status_name"]) for case in found] == [
            ("a", -1, "needs review"),
            ("b", -1, "needs review"),
            ("c", 2, "done"),
        ]
        waiting = assay("dataset", "cases", "list", "north-fna", "--waiting", "--json").json
        assert [case["name"] for case in waiting] == ["a", "b"]

    def test_what_a_stranger_wrote_reaches_no_terminal_as_a_control(self, assay: Assay) -> None:
        out = assay("dataset", "cases", "list", "north-fna").out
        assert "reviewed below" in out
        assert "\x1b" not in out

    def test_a_dataset_that_is_not_prepared_in_stages_is_five(self, assay: Assay, folder: Path) -> None:
        (folder / "report.yaml").unlink()
        ended = assay("dataset", "cases", "list", "north-fna")
        assert ended.code == 5
        assert "not prepared in stages" in ended.err

    def test_a_report_that_cannot_be_read_is_said(self, assay: Assay, folder: Path) -> None:
        (folder / "report.yaml").write_text("- nothing")
        ended = assay("dataset", "cases", "list", "north-fna")
        assert ended.code == 7
        assert "not a table" in ended.err


@pytest.mark.usefixtures("operator")
class TestOpen:
    def test_names_the_files_on_this_host(self, assay: Assay, folder: Path, tmp_path: Path) -> None:
        found = assay("dataset", "cases", "open", "north-fna", "a", "--json").json
        assert found["labels file"] == str(folder / "labels" / "drafts" / "a.txt")
        assert found["data file"] == str(tmp_path / "a.csv")

    def test_starts_a_program_with_them(self, assay: Assay, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("1")
        assert assay("dataset", "cases", "open", "north-fna", "a", "--with", "sed -i s/B/M/").code == 0
        assert (folder / "labels" / "drafts" / "a.txt").read_text() == "M"

    def test_a_place_that_the_step_never_had_is_refused(self, assay: Assay, folder: Path) -> None:
        assert folder
        ended = assay("dataset", "cases", "open", "north-fna", "b")
        assert ended.code == 7
        assert "'/etc/shadow'" in ended.err

    def test_a_link_out_of_the_folder_is_refused(self, assay: Assay, folder: Path) -> None:
        draft = folder / "labels" / "drafts" / "a.txt"
        draft.unlink()
        draft.symlink_to("/etc/hostname")
        assert assay("dataset", "cases", "open", "north-fna", "a").code == 7

    def test_an_unknown_case_is_five(self, assay: Assay, folder: Path) -> None:
        assert folder
        assert assay("dataset", "cases", "open", "north-fna", "zz").code == 5

    def test_a_viewer_may_not(self, assay: Assay, folder: Path, signed_in: Callable[[Role], None]) -> None:
        assert folder
        signed_in(Role.VIEWER)
        assert assay("dataset", "cases", "open", "north-fna", "a").code == 4


@pytest.mark.usefixtures("operator")
class TestMark:
    def test_others_see_who_did_what(self, assay: Assay, folder: Path) -> None:
        assert folder
        assert (
            assay("dataset", "cases", "mark", "north-fna", "a", "--note", "redrawn", "--json").json["still_waiting"]
            == 1
        )
        row = assay("dataset", "cases", "list", "north-fna", "--json").json[0]
        assert (row["marked_by"], row["note"]) == ("Operator <operator@north.example>", "redrawn")

    def test_a_case_that_waits_for_nobody_is_six(self, assay: Assay, folder: Path) -> None:
        assert folder
        assert assay("dataset", "cases", "mark", "north-fna", "c").code == 6

    def test_while_the_preparator_is_at_work_it_is_six(self, assay: Assay, folder: Path) -> None:
        write_stage(folder, Stage(runs=1, waits=False))
        ended = assay("dataset", "cases", "mark", "north-fna", "a")
        assert ended.code == 6
        assert "at work" in ended.err


class TestGoOn:
    @pytest.mark.usefixtures("owner")
    def test_with_all_marked_it_approves_the_gate(self, assay: Assay, here: Here, gate: Gate) -> None:
        for case in ("a", "b"):
            assay("dataset", "cases", "mark", "north-fna", case)
        assert assay("dataset", "cases", "go-on", "north-fna", "--reason", "reviewed by two").code == 0
        with here.store.read() as session:
            (decision,) = decisions_of(session, gate.id)
        assert (decision.verdict.value, decision.reason, decision.digest) == ("approve", "reviewed by two", gate.digest)

    @pytest.mark.usefixtures("owner", "gate")
    def test_with_cases_unmarked_it_is_six_unless_somebody_insists(self, assay: Assay) -> None:
        ended = assay("dataset", "cases", "go-on", "north-fna", "--reason", "r")
        assert ended.code == 6
        assert "2 case(s) are not marked" in ended.err
        assert assay("dataset", "cases", "go-on", "north-fna", "--reason", "r", "--anyway").code == 0

    @pytest.mark.usefixtures("operator", "gate")
    def test_an_operator_may_not(self, assay: Assay) -> None:
        assert assay("dataset", "cases", "go-on", "north-fna", "--reason", "r", "--anyway").code == 4

    @pytest.mark.usefixtures("owner", "folder")
    def test_where_nothing_is_asked_it_is_six(self, assay: Assay) -> None:
        assert assay("dataset", "cases", "go-on", "north-fna", "--reason", "r", "--anyway").code == 6


@pytest.mark.usefixtures("folder")
class TestShare:
    def test_nothing_is_shared_before_a_data_owner_says_so(
        self, assay: Assay, signed_in: Callable[[Role], None]
    ) -> None:
        signed_in(Role.OPERATOR)
        assert assay("dataset", "cases", "share", "north-fna", "--json").json["shared"] is False
        assert assay("dataset", "cases", "share", "north-fna", "--yes").code == 4

    @pytest.mark.usefixtures("owner")
    def test_a_data_owner_gives_it_and_takes_it_back(self, assay: Assay) -> None:
        assert assay("dataset", "cases", "share", "north-fna", "--yes", "--json").json["shared"] is True
        assert "hears how far" in assay("dataset", "cases", "share", "north-fna").out
        assert assay("dataset", "cases", "share", "north-fna", "--no", "--json").json["shared"] is False


class TestProgress:
    def test_the_committee_sees_what_a_site_told_and_a_stranger_nothing(self, at: Assay, registry: Federation) -> None:
        told = PreparationProgress(
            benchmark_id=registry.ids["benchmark"],
            name="more-cases",
            fractions={"-1": 0.25, "2": 0.75},
            measured_at=now(),
        )
        with registry.client("site") as site:
            body = canonical(told.model_dump(mode="json"))
            site.send(PayloadKind.PREPARATION, body, idempotency_key="preparation-1")
        (found,) = at("ada", "dataset", "progress", "--json").json
        assert (found["name"], found["fractions"]) == ("more-cases", {"-1": 0.25, "2": 0.75})
        assert "-1: 25%, 2: 75%" in at("ada", "dataset", "progress", "-b", found["benchmark_name"]).out
        assert at("eve", "dataset", "progress", "--json").json == []
