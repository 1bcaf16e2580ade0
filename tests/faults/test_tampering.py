"""Somebody changes files between two moments of the work: it is noticed, refused, and said with both digests."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from agents import verification
from agents.housekeeping import Housekeeping, verify_registered
from agents.store.datasets import find_dataset
from agents.store.executions import list_executions
from agents.store.tables import DatasetState, Execution
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, Isolation, ProbeOutcome
from flows.pipeline import Prepared
from tests.hospital import Hospital


@pytest.fixture(autouse=True)
def _files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been written in the last seconds: the quick look has to notice by itself."""
    monkeypatch.setattr(verification, "_SETTLED_NS", -1)


def _prepared(here: Hospital) -> Prepared:
    with here.site.store.read() as session:
        return Prepared(Path(find_dataset(session, "d1").folder or ""))


def _execution(here: Hospital) -> Execution:
    with here.site.store.read() as session:
        return list_executions(session)[-1]


def _hidden_change(folder: Path) -> None:
    path = folder / "labels" / "labels.csv"
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace(",1", ",x", 1).replace(",0", ",1", 1).replace(",x", ",0", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _swap(folder: Path) -> None:
    data, labels, aside = folder / "data" / "cases.csv", folder / "labels" / "labels.csv", folder / "aside"
    data.rename(aside)
    labels.rename(data)
    aside.rename(labels)


CHANGES = {
    "changed": (_hidden_change, "labels/labels.csv"),
    "added": (lambda folder: (folder / "data" / "more.csv").write_text("x"), "data/more.csv"),
    "removed": (lambda folder: (folder / "metadata" / "metadata.yaml").unlink(), "metadata/metadata.yaml"),
    "swapped": (_swap, "data/cases.csv"),
}


class TestDataset:
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_dataset_that_changed_after_its_registration_is_not_evaluated(
        self, registered: Hospital, change: str
    ) -> None:
        prepared = _prepared(registered)
        root = prepared.manifest.root
        act, named = CHANGES[change]
        act(prepared.folder)
        registered.offer(registered.model())
        assert registered.evaluate(1).outcome["failed"] == ["model-1"]
        execution = _execution(registered)
        assert execution.error_class == ErrorClass.DATASET_CHANGED
        assert f"registered root {root}, found sha256:" in execution.message
        assert named in execution.message
        registered.site.border.flush()
        event = ExecutionEvent.model_validate_json(registered.registry.taken[-1].body)
        assert event.error_class == ErrorClass.DATASET_CHANGED

    def test_an_edited_manifest_does_not_help(self, registered: Hospital) -> None:
        """Data and manifest changed together: what counts is the root that was registered."""
        prepared = _prepared(registered)
        text = (prepared.folder / "manifest.json").read_text()
        (prepared.folder / "manifest.json").write_text(text.replace("sha256:", "sha256:0", 1).replace('",', '",', 1))
        registered.offer(registered.model())
        registered.evaluate(1)
        assert _execution(registered).error_class == ErrorClass.DATASET_CHANGED
        assert "manifest.json" in _execution(registered).message

    def test_the_store_s_own_root_does_not_help(self, registered: Hospital) -> None:
        """What runs is what the committee approved; the site's row cannot say otherwise."""
        _hidden_change(_prepared(registered).folder)
        with sqlite3.connect(registered.site.store.path) as raw:
            raw.execute("UPDATE dataset SET root = 'sha256:' || hex(zeroblob(32))")
        raw.close()
        registered.offer(registered.model())
        registered.evaluate(1)
        assert _execution(registered).error_class == ErrorClass.DATASET_CHANGED

    def test_what_changed_between_question_and_answer_is_not_registered(self, here: Hospital) -> None:
        """The gate shows what is on disk when it is looked at, all of it read again."""
        here.prepare()
        _hidden_change(_prepared(here).folder)
        with here.site.store.write() as session:
            find_dataset(session, "d1").state = DatasetState.FAILED
        with pytest.raises(Exception, match=r"labels/labels\.csv"):
            here.prepare()

    def test_housekeeping_notices_and_says_so_where_people_look(self, registered: Hospital) -> None:
        house = Housekeeping(registered.site)
        house.verify()
        with registered.site.store.read() as session:
            assert find_dataset(session, "d1").message == ""
        _hidden_change(_prepared(registered).folder)
        house.verify()
        with registered.site.store.read() as session:
            dataset = find_dataset(session, "d1")
        assert dataset.state == DatasetState.REGISTERED
        assert "labels/labels.csv" in dataset.message
        assert "labels/labels.csv" in verify_registered(registered.site, dataset, full=True)


def _change_predictions(folder: Path) -> None:
    (folder / "predictions" / "predictions.csv").write_text("case_id,probability\n")


PREDICTIONS: dict[str, Callable[[Path], object]] = {
    "changed": _change_predictions,
    "removed": lambda folder: (folder / "predictions" / "predictions.csv").unlink(),
    "added": lambda folder: (folder / "predictions" / "more.csv").write_text("x"),
    "linked": lambda folder: (folder / "predictions" / "link").symlink_to("/etc/passwd"),
    "manifest lost": lambda folder: (folder / "predictions.json").unlink(),
    "mark lost": lambda folder: (folder / "probe.json").unlink(),
}


class TestPredictions:
    @pytest.mark.parametrize("change", PREDICTIONS)
    def test_predictions_that_are_not_what_the_model_left_are_made_again(
        self, registered: Hospital, change: str
    ) -> None:
        registered.offer(registered.model())
        registered.evaluate(1)
        (folder,) = registered.site.home.folder("executions").iterdir()
        honest = (folder / "predictions" / "predictions.csv").read_bytes()
        PREDICTIONS[change](folder)
        another = registered.other_metrics("another")
        registered.offer(registered.registry.work.benchmarks[0].models[0].cube, metrics_cube=another)
        assert registered.evaluate(1).outcome["failed"] == []
        assert [path.name for path in (folder / "predictions").iterdir()] == ["predictions.csv"]
        assert (folder / "predictions" / "predictions.csv").read_bytes() == honest

    def test_what_ran_without_isolation_stays_marked(self, registered: Hospital) -> None:
        """Predictions made while steps were not isolated are scored later, when they are: the mark stays."""
        registered.offer(registered.model())
        registered.evaluate(1)
        (folder,) = registered.site.home.folder("executions").iterdir()
        probe = ProbeOutcome.model_validate_json((folder / "probe.json").read_bytes())
        then = probe.model_copy(update={"isolation": Isolation.NOT_ISOLATED})
        (folder / "probe.json").write_text(then.model_dump_json())
        model = registered.registry.work.benchmarks[0].models[0].cube
        registered.offer(model, metrics_cube=registered.other_metrics("another"))
        registered.evaluate(1)
        registered.release(2)
        registered.site.border.flush()
        assert registered.registry.taken[-1].document["probe"]["isolation"] == "not_isolated"


class TestCubes:
    def test_a_cube_that_was_changed_at_the_site_is_fetched_again(self, registered: Hospital) -> None:
        model = registered.model()
        registered.offer(model)
        content = registered.site.cubes.bundle(model).folder
        (content / "infer.py").chmod(0o600)
        (content / "infer.py").write_text("raise SystemExit(3)")
        assert registered.evaluate(1).outcome["failed"] == []

    def test_a_changed_cube_does_not_run_while_the_registry_is_away(self, registered: Hospital) -> None:
        model = registered.model()
        registered.offer(model)
        content = registered.site.cubes.bundle(model).folder
        (content / "infer.py").chmod(0o600)
        (content / "infer.py").write_text("raise SystemExit(3)")
        registered.registry.stop()
        registered.evaluate(1)
        execution = _execution(registered)
        assert (execution.state, execution.error_class) == (ExecutionState.FAILED, ErrorClass.CUBE_UNAVAILABLE)
