"""Models of files alone, run by somebody's script: in the real runtime, through the same flow as any other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from agents.store.tables import Execution, Score
from api.schemas.border import ErrorClass
from api.schemas.cubes import CubeKind, CubeRef
from cubes.packing import pack_folder
from tests.hospital import Hospital, hospital

CONTRACT = """
container_type: Folder
tasks:
  run_script:
    run_args: {command: python3 run.py}
    resources: {cpu: 1, memory: 128Mi}
    deadline_s: 300
    input_volumes:
      data_path: {mount_path: /data, type: directory}
      model_files: {mount_path: /model_files, type: directory}
    output_volumes:
      results_path: {mount_path: /results, type: directory}
"""
RUN = """
import csv, json, os
weights = json.load(open("/model_files/weights.json"))
assert not os.path.exists("/mlcommons") and sorted(os.listdir("/data")) == ["cases.csv"]
with open("/data/cases.csv", newline="") as cases, open("/results/predictions.csv", "w") as out:
    out.write("case_id,probability\\n")
    for case in csv.DictReader(cases):
        value = min(1, max(0, weights["slope"] * float(case["radius_mean"]) + weights["offset"]))
        out.write(f"{case['case_id']},{value:.4f}\\n")
"""


SCORES = """
container_type: Folder
tasks:
  run_script:
    run_args: {command: python3 run.py}
    resources: {cpu: 1, memory: 128Mi}
    deadline_s: 300
    input_volumes:
      data_path: {mount_path: /predictions, type: directory}
      labels_path: {mount_path: /labels, type: directory}
      model_files: {mount_path: /model_files, type: directory}
    output_volumes:
      results_path: {mount_path: /results, type: directory}
"""
SCORE = """
import csv, json
truth = {row["case_id"]: row["malignant"] for row in csv.DictReader(open("/labels/labels.csv", newline=""))}
said = {row["case_id"]: float(row["probability"]) for row in csv.DictReader(open("/predictions/predictions.csv", newline=""))}
right = sum((said[case] > json.load(open("/model_files/cut.json"))) == bool(int(value)) for case, value in truth.items())
json.dump({name: right / len(truth) for name in NAMES}, open("/results/metrics.yaml", "w"))
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Three models: two of other files under the same script, one whose files are not what the script expects."""
    folder = tmp_path_factory.mktemp("scripts")
    probe = ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()
    with pytest.MonkeyPatch.context() as patch, hospital(folder / "h", probe, patch) as here:
        script = here.program(CubeKind.MODEL, CONTRACT, run_py=RUN)
        weights: list[dict[str, float]] = [
            {"slope": 1 / 30, "offset": 0},
            {"slope": -1 / 30, "offset": 1},
            {"other": 1},
        ]
        models = [_with_files(here, script, number, each) for number, each in enumerate(weights)]
        here.offer(*models)
        here.prepare()
        here.site.border.flush()
        here.offer(*models)
        here.evaluate(1, 2, 3)
        yield here


def _with_files(
    here: Hospital, script: CubeRef, number: int, content: dict[str, float] | float, name: str = "weights.json"
) -> CubeRef:
    folder, archive = here.folder / f"files-{number}", here.folder / f"files-{number}.tar"
    folder.mkdir()
    (folder / name).write_text(json.dumps(content))
    pack_folder(folder, archive)
    return script.model_copy(update={"additional_files_digest": here.registry.add_blob(archive)})


def _executions(here: Hospital) -> list[Execution]:
    with here.site.store.read() as session:
        return list(session.exec(select(Execution).order_by("model_id")))


class TestEvaluate:
    def test_each_is_scored_by_what_its_own_files_say(self, here: Hospital) -> None:
        with here.site.store.read() as session:
            scores = {score.model_id: score.metrics["auroc"] for score in session.exec(select(Score))}
        assert set(scores) == {1, 2}
        assert scores[1] == pytest.approx(1 - scores[2])
        assert scores[1] > 0.8

    def test_the_same_script_with_other_files_is_another_execution(self, here: Hospital) -> None:
        found = _executions(here)
        assert len({row.model_digest for row in found}) == 1
        assert len({row.identity for row in found}) == 3

    def test_files_that_do_not_fit_fail_their_model_alone(self, here: Hospital) -> None:
        assert [row.error_class for row in _executions(here)] == [None, None, ErrorClass.EXIT_CODE]

    def test_what_runs_are_the_registered_files(self, here: Hospital) -> None:
        digest = here.site.work().benchmarks[0].models[0].cube.additional_files_digest
        kept: Path = here.site.home.path / "cubes" / str(digest).removeprefix("sha256:") / "content" / "weights.json"
        assert json.loads(kept.read_text()) == {"slope": 1 / 30, "offset": 0}


class TestScore:
    """A script that reads labels, in the metrics cube's place and in a model's."""

    def test_it_scores_what_models_predicted_and_nothing_runs_again(self, here: Hospital) -> None:
        names = [metric.name for metric in here.site.work().benchmarks[0].metrics]
        script = here.program(CubeKind.METRICS, SCORES, run_py=SCORE.replace("NAMES", repr(names)))
        scorer = _with_files(here, script, 10, 0.5, "cut.json")
        before = _predicted(here)
        here.offer(*_models(here), metrics_cube=scorer)
        here.evaluate(1, 2)
        with here.site.store.read() as session:
            scores = [s for s in session.exec(select(Score)) if s.metrics_digest == scorer.pack_digest]
        assert {score.model_id for score in scores} == {1, 2}
        first, second = sorted(scores, key=lambda score: score.model_id)
        assert first.metrics["auroc"] > 0.6
        assert second.metrics["auroc"] == pytest.approx(1 - first.metrics["auroc"])
        assert _predicted(here) == before

    def test_in_a_models_place_it_does_not_run(self, here: Hospital) -> None:
        cheat = here.program(CubeKind.MODEL, SCORES, run_py="raise SystemExit('ran')")
        here.offer(*_models(here), _with_files(here, cheat, 11, 0, "cut.json"))
        here.evaluate(4)
        (row,) = [row for row in _executions(here) if row.model_id == 4]
        assert row.error_class == ErrorClass.CUBE_UNAVAILABLE
        assert "no task 'infer': it was registered as another kind" in row.message


def _models(here: Hospital) -> list[CubeRef]:
    return [model.cube for model in here.site.work().benchmarks[0].models][:3]


def _predicted(here: Hospital) -> dict[str, int]:
    """When predictions were made."""
    found = (here.site.home.path / "executions").glob("*/predictions.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}
