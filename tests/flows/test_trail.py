"""The trail of one execution at a hospital: every digest from registration to what left, and what does not fit is found."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from agents.environments import EnvironmentCache
from agents.errors import NotFoundError
from agents.runtimes.process import ProcessRuntime
from agents.store.executions import list_executions
from agents.store.tables import Execution
from agents.trail import Link, find_one, trail_of
from cubes.digests import short
from tests.hospital import Hospital, hospital


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A model's result has left."""
    folder = tmp_path_factory.mktemp("trail")
    probe = ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()
    with pytest.MonkeyPatch.context() as patch, hospital(folder / "h", probe, patch) as here:
        model = here.model()
        here.offer(model)
        here.prepare()
        here.site.border.flush()
        here.offer(model)
        here.evaluate(1)
        here.release(1)
        here.site.border.flush()
        yield here


@pytest.fixture
def execution(here: Hospital) -> Execution:
    with here.site.store.read() as session:
        return list_executions(session)[0]


def _digests(links: list[Link], what: str) -> list[tuple[str, str]]:
    return [(link.moment, link.digest) for link in links if link.what == what]


class TestTrail:
    def test_every_moment_names_the_same_cube(self, here: Hospital, execution: Execution) -> None:
        links = trail_of(here.site, execution)
        registered = here.registry.work.benchmarks[0].models[0].cube.pack_digest
        assert _digests(links, "cube") == [(m, registered) for m in ("registered", "approved", "fetched", "ran")]
        assert all(link.fits for link in links)

    def test_dataset_and_result_are_those_that_the_registry_took(self, here: Hospital, execution: Execution) -> None:
        links = trail_of(here.site, execution)
        dataset, result = (next(t for t in here.registry.taken if t.kind == kind) for kind in ("dataset", "result"))
        root = dataset.document["root"]
        assert _digests(links, "dataset") == [(moment, root) for moment in ("registered", "prepared", "scored")]
        (left,) = [link for link in links if link.moment == "left"]
        assert left.note.startswith("Owner <owner@north.example>, left 20")
        assert left.note.endswith(" UTC, taken")
        assert json.loads(result.body)["dataset_root"] == root

    def test_a_result_that_the_registry_refused_left_all_the_same(self, here: Hospital) -> None:
        here.offer(here.registry.work.benchmarks[0].models[0].cube, here.model("# another\n" + here.program_text))
        here.evaluate(2)
        here.release(2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(here.registry, "fault", lambda taken: 409 if taken.kind == "result" else None)
            here.site.border.flush()
        with here.site.store.read() as session:
            refused = list_executions(session)[1]
        (left,) = [link for link in trail_of(here.site, refused) if link.moment == "left"]
        assert left.note.endswith(" UTC, refused")

    def test_the_benchmark_s_cubes_are_those_that_prepared_and_scored(
        self, here: Hospital, execution: Execution
    ) -> None:
        links, work = trail_of(here.site, execution), here.registry.work.benchmarks[0]
        scorer, preparator = work.metrics_cube.pack_digest, work.preparator.pack_digest
        assert _digests(links, "metrics cube") == [(m, scorer) for m in ("registered", "fetched", "scored")]
        assert _digests(links, "preparator") == [(m, preparator) for m in ("registered", "prepared")]

    def test_predictions_that_changed_do_not_fit(self, here: Hospital, execution: Execution) -> None:
        path = here.site.home.path / "executions" / short(execution.identity) / "predictions" / "predictions.csv"
        before = path.read_bytes()
        path.write_bytes(before + b"x,0.5\n")
        try:
            (broken,) = [link for link in trail_of(here.site, execution) if not link.fits]
        finally:
            path.write_bytes(before)
        assert (broken.moment, broken.what) == ("ran", "predictions")

    def test_a_cube_that_changed_on_disk_does_not_fit(self, here: Hospital, execution: Execution) -> None:
        place = here.site.home.path / "cubes" / execution.model_digest.removeprefix("sha256:") / "content" / "infer.py"
        before = place.read_bytes()
        place.chmod(0o644)
        place.write_bytes(before + b"# changed")
        try:
            broken = [link.what for link in trail_of(here.site, execution) if not link.fits]
        finally:
            place.write_bytes(before)
            place.chmod(0o444)
        assert broken == ["cube"]

    def test_a_gate_that_somebody_edited_does_not_fit(self, here: Hospital, execution: Execution) -> None:
        with closing(sqlite3.connect(here.site.home.store_file)) as raw:
            (kept,) = raw.execute("SELECT shown FROM gate WHERE name = 'run_models'").fetchone()
            raw.execute("UPDATE gate SET shown = replace(shown, '\"priority\": 0', '\"priority\": 9')")
            raw.commit()
            broken = [(link.moment, link.what) for link in trail_of(here.site, execution) if not link.fits]
            raw.execute("UPDATE gate SET shown = ? WHERE name = 'run_models'", (kept,))
            raw.commit()
        assert broken == [("approved", "cube"), ("approved", "gate")]


class TestFind:
    def test_by_the_beginning_of_its_digest(self, here: Hospital, execution: Execution) -> None:
        with here.site.store.read() as session:
            for reference in (execution.identity, execution.identity[7:], execution.identity[7:19]):
                assert find_one(session, reference).id == execution.id

    @pytest.mark.parametrize("reference", ["", "sha256:", "0000", "f" * 64, "%"])
    def test_what_is_not_there(self, here: Hospital, reference: str) -> None:
        with here.site.store.read() as session, pytest.raises(NotFoundError):
            find_one(session, reference)
