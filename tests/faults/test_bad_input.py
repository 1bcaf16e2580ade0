"""What a hospital's engineer sees when data or cubes are bad: a class that may leave, and words that help and stay."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from agents.errors import InvalidInputError, StepFailedError
from agents.measured import more_of
from agents.store.datasets import add_dataset, find_dataset
from agents.store.executions import list_executions, scores_in
from agents.store.tables import DatasetState, Execution, OutboxItem, ScoreState
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, PayloadKind, Step
from api.schemas.cubes import CubeKind
from tests.hospital import Hospital

EVALUATE = """
container_type: Folder
tasks:
  evaluate:
    run_args: {command: python3 evaluate.py}
    resources: {cpu: 1, memory: 128Mi}
    deadline_s: 300
    input_volumes:
      predictions: {mount_path: /predictions, type: directory}
      labels: {mount_path: /labels, type: directory}
    output_volumes:
      output_path: {mount_path: /metrics.yaml, type: file}
"""
GOOD = {"auroc": 0.5, "auprc": 0.5, "accuracy": 0.5, "sensitivity": 0.5, "specificity": 0.5, "brier": 0.5}
Edit = Callable[[list[list[str]]], Any]


def _edit(path: Path, change: Edit) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _cut_column(rows: list[list[str]]) -> None:
    for row in rows:
        del row[3]


class TestRawData:
    """Found by the preparator; the registry hears nothing at all of it."""

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("data/cases.csv", _cut_column, "missing column"),
            ("labels/labels.csv", lambda rows: rows[1].__setitem__(1, "maybe"), "diagnosis must be M or B"),
            ("data/cases.csv", lambda rows: rows.__delitem__(slice(1, None)), "empty dataset"),
            ("data/cases.csv", lambda rows: rows[2].__setitem__(1, "9999"), "wrong unit or shifted column"),
            ("data/cases.csv", lambda rows: rows.append(rows[1]), "a second time"),
        ],
    )
    def test_the_preparator_s_words_reach_the_operator(
        self, here: Hospital, file: str, change: Edit, said: str
    ) -> None:
        _edit(here.raw / file, change)
        with pytest.raises(StepFailedError) as caught:
            here.prepare()
        assert caught.value.error_class == ErrorClass.EXIT_CODE
        assert caught.value.exit_code == 1
        with here.site.store.read() as session:
            dataset = find_dataset(session, "d1")
            assert session.exec(select(OutboxItem)).all() == []
        assert dataset.state == DatasetState.FAILED
        assert said in dataset.message
        assert list(here.site.home.folder("attempts").iterdir()) == []

    def test_the_same_name_may_be_prepared_again_when_it_is_mended(self, here: Hospital) -> None:
        good = (here.raw / "labels/labels.csv").read_bytes()
        _edit(here.raw / "labels/labels.csv", lambda rows: rows[1].__setitem__(1, "?"))
        with pytest.raises(StepFailedError):
            here.prepare()
        (here.raw / "labels/labels.csv").write_bytes(good)
        here.prepare()
        with here.site.store.read() as session:
            assert find_dataset(session, "d1").state == DatasetState.PREPARED

    def test_a_folder_that_holds_a_link_is_refused_before_anything_runs(self, here: Hospital) -> None:
        (here.raw / "data" / "all").symlink_to("/etc")
        with pytest.raises(InvalidInputError, match="'all' is not a regular file"):
            here.prepare()

    @pytest.mark.parametrize("name", ["../../x", "Ünïcode", "", "a", "x" * 64, "two words"])
    def test_a_name_that_the_registry_would_refuse_is_refused_at_once(self, here: Hospital, name: str) -> None:
        with here.site.store.write() as session, pytest.raises(InvalidInputError, match="no name for a dataset"):
            add_dataset(
                session, name=name, title="T", benchmark_id=1, data_path=here.raw, labels_path=here.raw, requested_by=1
            )


def _only(here: Hospital) -> Execution:
    with here.site.store.read() as session:
        (execution,) = list_executions(session)
    return execution


class TestModel:
    @pytest.mark.parametrize(
        ("mode", "error", "said"),
        [
            ("exit_1", ErrorClass.EXIT_CODE, "giving up"),
            ("hang", ErrorClass.DEADLINE, "deadline of 5 s"),
            ("ignore_sigterm", ErrorClass.DEADLINE, "deadline of 5 s"),
            ("write_nothing", ErrorClass.OUTPUT_MISSING, "left 'output_path' empty"),
            ("flood_stdout", ErrorClass.LOG_TOO_LARGE, "more than 16 MiB to its log"),
            ("memory", ErrorClass.MEMORY, "more memory"),
            ("open_socket", ErrorClass.EXIT_CODE, "Network is unreachable"),
            ("write_inputs", ErrorClass.EXIT_CODE, "Read-only file system"),
        ],
    )
    def test_a_class_leaves_and_the_words_stay(
        self, registered: Hospital, mode: str, error: ErrorClass, said: str
    ) -> None:
        registered.offer(registered.broken_model(mode))
        assert registered.evaluate(1).outcome["failed"] == ["model-1"]
        execution = _only(registered)
        assert (execution.state, execution.step, execution.error_class) == (ExecutionState.FAILED, Step.INFER, error)
        assert said in execution.message
        registered.site.border.flush()
        sent = registered.registry.taken[-1]
        event = ExecutionEvent.model_validate_json(sent.body)
        assert (sent.kind, event.error_class, event.state) == (
            PayloadKind.EXECUTION_EVENT,
            error,
            ExecutionState.FAILED,
        )
        assert said.encode() not in sent.body
        assert list(registered.site.home.folder("attempts").iterdir()) == []

    def test_a_failing_model_stops_nobody_and_is_not_tried_again_by_itself(self, registered: Hospital) -> None:
        registered.offer(registered.broken_model("exit_1"), registered.model())
        assert registered.evaluate(1, 2).outcome == {"ran": 2, "reused": 0, "withheld": 0, "failed": ["model-1"]}
        assert registered.evaluate(1, 2).outcome == {"ran": 0, "reused": 2, "withheld": 0, "failed": []}
        assert registered.evaluate(1, 2, retry_failed=True).outcome["failed"] == ["model-1"]

    def test_predictions_that_are_no_table_fail_in_the_metrics_cube(self, registered: Hospital) -> None:
        registered.offer(registered.broken_model("malformed"))
        registered.evaluate(1)
        execution = _only(registered)
        assert (execution.step, execution.error_class) == (Step.EVALUATE, ErrorClass.EXIT_CODE)
        assert "evaluate exited with 1" in execution.message

    def test_a_metrics_cube_in_the_place_of_a_model_is_named_so(self, registered: Hospital) -> None:
        registered.offer(registered.metrics)
        registered.evaluate(1)
        execution = _only(registered)
        assert execution.error_class == ErrorClass.CUBE_UNAVAILABLE
        assert "has no task 'infer'" in execution.message

    def test_a_blob_that_the_registry_lost_is_named(self, registered: Hospital) -> None:
        model = registered.model()
        registered.offer(model)
        del registered.registry.blobs[model.pack_digest]
        registered.evaluate(1)
        execution = _only(registered)
        assert execution.error_class == ErrorClass.CUBE_UNAVAILABLE
        assert model.pack_digest in execution.message


class TestMetrics:
    def _evaluate(self, here: Hospital, report: str) -> Execution:
        program = f"open('/metrics.yaml', 'w').write({report!r})\n"
        cube = here.program(CubeKind.METRICS, EVALUATE, evaluate_py=program)
        here.offer(here.model(), metrics_cube=cube)
        here.evaluate(1)
        return _only(here)

    @pytest.mark.parametrize(
        ("report", "said"),
        [
            ("auroc: [", "not plain YAML"),
            ("- 1\n", "not a mapping"),
            ("a: &x [1]\nb: *x\n", "not plain YAML"),
            ("auroc: 0.5\n", "is missing"),
            ("".join(f"{name}: {value}\n" for name, value in {**GOOD, "auroc": "high"}.items()), "not a number"),
            ("".join(f"{name}: {value}\n" for name, value in {**GOOD, "auroc": 1.5}.items()), "outside 0.0 to 1.0"),
        ],
    )
    def test_a_report_that_cannot_be_used_says_why(self, registered: Hospital, report: str, said: str) -> None:
        execution = self._evaluate(registered, report)
        assert (execution.step, execution.error_class) == (Step.EVALUATE, ErrorClass.OUTPUT_MALFORMED)
        assert said in execution.message
        with registered.site.store.read() as session:
            assert scores_in(session, *ScoreState) == []

    def test_what_the_benchmark_did_not_ask_for_stays_at_the_site(self, registered: Hospital) -> None:
        report = "".join(f"{name}: {value}\n" for name, value in {**GOOD, "f1": 0.25, "youngest": 17}.items())
        assert self._evaluate(registered, report).state == ExecutionState.SUCCEEDED
        registered.release(1)
        registered.site.border.flush()
        assert registered.registry.taken[-1].document["metrics"] == GOOD
        assert not [taken for taken in registered.registry.taken if b"youngest" in taken.body]
        with registered.site.store.read() as session:
            (score,) = scores_in(session, *ScoreState)
        assert more_of(registered.site.home, score) == {"f1": 0.25, "youngest": 17}

    def test_an_empty_report_is_a_missing_one(self, registered: Hospital) -> None:
        assert self._evaluate(registered, "").error_class == ErrorClass.OUTPUT_MISSING

    def test_a_metric_that_is_not_a_number_is_a_result(self, registered: Hospital) -> None:
        """Undefined is an answer: with one class only there is no AUROC. It is kept, shown and sent as what it is."""
        report = "".join(f"{name}: {value}\n" for name, value in {**GOOD, "auroc": ".nan"}.items())
        assert self._evaluate(registered, report).state == ExecutionState.SUCCEEDED
        registered.release(1)
        registered.site.border.flush()
        sent = registered.registry.taken[-1]
        assert (sent.kind, sent.document["metrics"]["auroc"]) == (PayloadKind.RESULT, "float:nan")
