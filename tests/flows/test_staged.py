"""Staged preparation: a preparator that stops for people, in the real runtime, at a hospital with a gate between stages."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.environments import EnvironmentCache
from agents.errors import StepFailedError
from agents.runtimes.process import ProcessRuntime
from agents.staging import mark_case, read_stage, report_of, unmarked
from agents.store.tables import Dataset, DatasetState, JobState
from api.schemas.benchmarks import Verdict
from api.schemas.border import ErrorClass
from tests.flows.ward import CASES, Ward, staged_ward


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("probe")
    return ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()


@pytest.fixture
def ward(tmp_path: Path, probe: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    with staged_ward(tmp_path / "h", probe, monkeypatch) as found:
        yield found


class TestPrepare:
    def test_people_in_between_then_registered(self, ward: Ward) -> None:
        ward.reviews = [ward.review("a", "b"), ward.review("c")]
        assert ward.here.prepare().state == JobState.DONE
        assert [gate.shown["open"] for gate in ward.gates()] == [3, 1]
        assert [gate.shown["run"] for gate in ward.gates()] == [1, 2]
        assert (ward.folder / "labels" / "labels.csv").read_text() == "a,B\nb,B\nc,M\n"
        dataset = ward.dataset
        assert (dataset.state, dataset.cases, dataset.statistics) == (
            DatasetState.PREPARED,
            3,
            {"cases": 3, "malignant": 1},
        )
        assert [gate.shown["statistics"]["malignant"] for gate in ward.gates("register_dataset")] == [1]

    def test_the_gate_shows_who_waits_for_what(self, ward: Ward) -> None:
        ward.reviews = [ward.review(*CASES)]
        ward.here.prepare()
        (gate,) = ward.gates()
        assert gate.shown["counts"] == {"needs review": 3}
        assert gate.shown["cases"][0] == ["a", "needs review", "write `reviewed` below the label"]

    def test_while_it_waits_the_dataset_is_outstanding_and_not_failed(self, ward: Ward) -> None:
        seen: list[Dataset] = []

        def look() -> None:
            seen.append(ward.dataset)
            ward.review(*CASES)()

        ward.reviews = [look]
        ward.here.prepare()
        (found,) = seen
        assert (found.state, found.folder) == (DatasetState.OUTSTANDING, str(ward.folder))
        assert found.message.startswith("3 of 3 cases wait for people.")
        assert ward.dataset.message == ""

    def test_asked_again_when_nobody_did_anything(self, ward: Ward) -> None:
        ward.reviews = [lambda: None, ward.review(*CASES)]
        ward.here.prepare()
        assert [gate.shown["run"] for gate in ward.gates()] == [1, 2]

    def test_a_data_owner_may_end_it(self, ward: Ward) -> None:
        ward.here.verdict = Verdict.REJECT
        assert ward.here.prepare().state == JobState.REJECTED
        assert ward.dataset.state == DatasetState.REJECTED
        assert not (ward.folder / "manifest.json").exists()

    def test_an_insane_dataset_without_open_cases_has_failed(self, ward: Ward) -> None:
        def spoil() -> None:
            ward.review(*CASES)()
            (ward.folder / "data" / "stray.json").write_text("{}")

        ward.reviews = [spoil]
        with pytest.raises(StepFailedError, match="1 case\\(s\\) have no label") as failed:
            ward.here.prepare()
        assert failed.value.error_class == ErrorClass.EXIT_CODE
        assert ward.dataset.state == DatasetState.FAILED

    def test_whoever_changes_it_after_the_sanity_check_is_found_out(self, ward: Ward) -> None:
        ward.reviews = [ward.review(*CASES)]
        ward.here.prepare()
        (ward.folder / "labels" / "labels.csv").write_text("a,M\nb,M\nc,M\n")
        with pytest.raises(Exception, match="changed after it was registered"):
            ward.here.site.verify("d1", ward.folder, ward.dataset.root or "", full=True)


class TestResume:
    def test_after_a_stop_it_goes_on_where_the_report_says(self, ward: Ward) -> None:
        ward.raw("a", "stop", "z")
        with pytest.raises(StepFailedError):
            ward.here.prepare()
        assert [case.name for case in report_of(ward.folder).cases] == ["a"]
        assert (ward.dataset.state, read_stage(ward.folder).runs) == (DatasetState.FAILED, 0)

        ward.reviews = [ward.review("a", "stop", "z")]
        # The marker of the stop is no draft: only people would have removed it.
        ward.reviews.insert(0, (ward.folder / "labels" / "drafts" / "stopped").unlink)
        assert ward.here.prepare().state == JobState.DONE
        logs = sorted((ward.here.site.home.path / "logs").glob("d1-prepare-*.log"))
        said = [log.read_text() for log in logs]
        assert "a was None" in said[0]
        assert "a was -1" in said[1]
        assert "z was None" in said[1]

    def test_a_gate_that_was_not_answered_is_asked_again_without_another_run(self, ward: Ward) -> None:
        def die() -> None:
            raise RuntimeError("the agent was killed here")

        ward.reviews = [die]
        with pytest.raises(RuntimeError):
            ward.here.prepare()
        assert read_stage(ward.folder).model_dump() == {"runs": 1, "waits": True}
        ward.reviews = [ward.review(*CASES)]
        assert ward.here.prepare().state == JobState.DONE
        assert [gate.shown["run"] for gate in ward.gates()] == [1]
        assert read_stage(ward.folder).runs == 2

    def test_an_output_that_is_a_link_is_refused(self, ward: Ward) -> None:
        ward.reviews = [lambda: (ward.folder / "labels" / "link").symlink_to("/etc/passwd")]
        with pytest.raises(StepFailedError, match="links and devices are not accepted") as failed:
            ward.here.prepare()
        assert failed.value.error_class == ErrorClass.OUTPUT_MALFORMED


class TestMark:
    def test_what_is_marked_no_longer_waits_until_the_next_run(self, ward: Ward) -> None:
        seen: list[list[str]] = []

        def first() -> None:
            mark_case(ward.folder, "a", by="Ann", note="looks right")
            seen.append(unmarked(ward.folder))

        def second() -> None:
            seen.append(unmarked(ward.folder))
            ward.review(*CASES)()

        ward.reviews = [first, second]
        ward.here.prepare()
        assert seen == [["b", "c"], ["a", "b", "c"]]
        assert json.loads((ward.folder / "marks.json").read_text())["cases"]["a"]["by"] == "Ann"
