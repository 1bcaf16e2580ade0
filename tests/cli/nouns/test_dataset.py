"""Datasets at a site: asked for, followed, shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.store.datasets import update_dataset
from agents.store.tables import DatasetState, Role
from tests.cli.support import Assay, Here


@pytest.fixture
def raw(tmp_path: Path) -> tuple[Path, Path]:
    """Folders as a hospital exports them."""
    data, labels = tmp_path / "data", tmp_path / "labels"
    for folder in (data, labels):
        folder.mkdir()
    return data, labels


@pytest.fixture
def prepare(assay: Assay, here: Here, raw: tuple[Path, Path]) -> Assay:
    """Ask for a preparation of good folders for a benchmark that is known."""
    here.tell("forest")
    data, labels = raw

    def run(*words: str) -> object:
        return assay("dataset", "prepare", "north-fna", "-b", "breast-fna", "--data", data, "--labels", labels, *words)

    return run  # type: ignore[return-value]  # an Assay with the beginning filled in


@pytest.mark.usefixtures("operator")
class TestPrepare:
    def test_queues_a_job_for_the_benchmark_of_that_name(self, prepare: Assay, assay: Assay, here: Here) -> None:
        job = prepare("--json").json
        assert (job["kind"], job["subject"], job["state"]) == ("prepare", "north-fna", "queued")
        assert job["requested_by"] == here.ids[Role.OPERATOR]
        (dataset,) = assay("dataset", "list", "--json").json
        assert (dataset["benchmark_id"], dataset["benchmark_name"]) == (4, "breast-fna")

    def test_says_how_to_follow_it_and_that_no_agent_runs(self, prepare: Assay) -> None:
        ended = prepare()
        assert "assay job wait" in ended.out
        assert "assay agent start" in ended.err

    def test_an_unknown_benchmark_is_five_and_names_those_there_are(
        self, assay: Assay, here: Here, raw: tuple[Path, Path]
    ) -> None:
        here.tell()
        ended = assay("dataset", "prepare", "n1", "-b", "other", "--data", raw[0], "--labels", raw[1])
        assert ended.code == 5
        assert "breast-fna" in ended.err

    def test_before_the_registry_was_heard_it_says_so(self, assay: Assay, raw: tuple[Path, Path]) -> None:
        ended = assay("dataset", "prepare", "n1", "-b", "x", "--data", raw[0], "--labels", raw[1])
        assert ended.code == 5
        assert "is the agent running?" in ended.err

    def test_a_folder_that_is_not_there_is_seven(self, assay: Assay, here: Here, raw: tuple[Path, Path]) -> None:
        here.tell()
        ended = assay("dataset", "prepare", "n1", "-b", "4", "--data", "/nowhere", "--labels", raw[1])
        assert ended.code == 7
        assert "'/nowhere'" in ended.err

    def test_a_name_that_the_registry_would_refuse_is_refused_now(
        self, assay: Assay, here: Here, raw: tuple[Path, Path]
    ) -> None:
        here.tell()
        ended = assay("dataset", "prepare", "North FNA", "-b", "4", "--data", raw[0], "--labels", raw[1])
        assert ended.code == 7
        assert assay("dataset", "list", "--json").json == []

    def test_twice_is_six(self, prepare: Assay) -> None:
        prepare()
        assert prepare().code == 6

    def test_waiting_gives_up_in_time(self, prepare: Assay) -> None:
        assert prepare("--wait", "--timeout", "0").code == 12

    def test_a_viewer_may_not(self, prepare: Assay, signed_in: Callable[[Role], None]) -> None:
        signed_in(Role.VIEWER)
        assert prepare().code == 4


@pytest.mark.usefixtures("operator")
class TestShow:
    def test_statistics_and_digests(self, prepare: Assay, assay: Assay, here: Here) -> None:
        prepare()
        with here.store.write() as session:
            update_dataset(
                session, "north-fna", state=DatasetState.PREPARED, cases=24, statistics={"cases": 24, "malignant": 19}
            )
        out = assay("dataset", "show", "north-fna").out
        assert "statistics" in out
        assert "malignant  19" in out
        assert "24" in assay("dataset", "list").out

    def test_what_is_not_there_is_five(self, assay: Assay) -> None:
        ended = assay("dataset", "show", "nothing")
        assert ended.code == 5
        assert "assay dataset list" in ended.err
