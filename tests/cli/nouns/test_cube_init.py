"""Templates: what `assay cube init` makes is understood, and each of its tasks runs and gives what a site expects."""

import json
from pathlib import Path

import pytest

from cubes.contract import load_contract
from cubes.reports import read_metrics, read_statistics
from tests.cli.support import Assay, run_task


def _run(assay: Assay, cube: Path, task: str, output: Path, **inputs: Path) -> Path:
    run_task(assay, cube, task, output, **inputs)
    return output


def test_what_it_says_to_type_next_can_be_typed(assay: Assay, tmp_path: Path, export: Path) -> None:
    ended = assay("cube", "init", tmp_path / "cube", "--kind", "data_preparator")
    look, run = (line.split()[1:] for line in ended.out.splitlines()[1:])
    assert assay(*look).code == 0
    places = {"data_path=PATH": f"data_path={export / 'data'}", "labels_path=PATH": f"labels_path={export / 'labels'}"}
    typed = [places.get(word, word).replace("NEW_FOLDER", str(tmp_path / "new")) for word in run]
    ended = assay(*typed)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("kind", ["data_preparator", "model", "metrics", "script"])
def test_each_kind_is_understood(assay: Assay, tmp_path: Path, kind: str) -> None:
    assert "assay cube test" in assay("cube", "init", tmp_path / "cube", "--kind", kind).out
    assert assay("cube", "validate", tmp_path / "cube", "--json").json["kind"] == kind
    assert (tmp_path / "cube" / "Dockerfile").is_file()


def test_a_preparator_prepares_checks_and_counts(assay: Assay, tmp_path: Path, export: Path) -> None:
    cube = tmp_path / "cube"
    assay("cube", "init", cube, "--kind", "data_preparator")
    raw = {"data_path": export / "data", "labels_path": export / "labels"}
    prepared = _run(assay, cube, "prepare", tmp_path / "prepared", **raw)
    parts = {"data_path": prepared / "output_path", "labels_path": prepared / "output_labels_path"}
    _run(assay, cube, "sanity_check", tmp_path / "checked", **parts)
    counted = _run(assay, cube, "statistics", tmp_path / "counted", **parts)
    assert read_statistics(counted / "output_path") == {"cases": 2, "labels": {"1": 2}}


def test_a_dataset_that_does_not_match_is_refused(assay: Assay, tmp_path: Path, export: Path) -> None:
    cube = tmp_path / "cube"
    assay("cube", "init", cube, "--kind", "data_preparator")
    (export / "labels" / "labels.json").write_text('{"a.txt": 1}')
    words = ("--input", f"data_path={export / 'data'}", "--input", f"labels_path={export / 'labels'}")
    ended = assay("cube", "test", cube, "sanity_check", *words, "--output", tmp_path / "checked")
    assert ended.code == 10
    assert "1 case(s) have no label" in ended.err


def test_a_model_and_its_metrics(assay: Assay, tmp_path: Path, export: Path) -> None:
    model, metrics = tmp_path / "model", tmp_path / "metrics"
    assay("cube", "init", model)
    assay("cube", "init", metrics, "--kind", "metrics")
    predicted = _run(assay, model, "infer", tmp_path / "predicted", data_path=export / "data")
    assert json.loads((predicted / "output_path" / "predictions.json").read_text()) == {"a.txt": 1, "b.txt": 2}
    inputs = {"predictions": predicted / "output_path", "labels": export / "labels"}
    measured = _run(assay, metrics, "evaluate", tmp_path / "measured", **inputs)
    assert read_metrics(measured / "output_path", load_contract(metrics).metrics) == {"accuracy": 0.5}
    assert json.loads((measured / "local_outputs_path" / "cases.json").read_text()) == {"a.txt": True, "b.txt": False}


def test_a_script_runs_a_model_s_files(assay: Assay, tmp_path: Path, export: Path) -> None:
    script, files = tmp_path / "script", tmp_path / "files"
    assay("cube", "init", script, "--kind", "script")
    files.mkdir()
    (files / "threshold.txt").write_text("1")
    ran = _run(assay, script, "run_script", tmp_path / "ran", data_path=export / "data", model_files=files)
    assert json.loads((ran / "results_path" / "predictions.json").read_text()) == {"a.txt": 0, "b.txt": 1}


def test_nothing_is_overwritten(assay: Assay, tmp_path: Path) -> None:
    ended = assay("cube", "init", tmp_path)
    assert ended.code == 7
    assert "name a new folder" in ended.err


class TestInEngine:
    def test_a_folder_has_no_image(self, assay: Assay, tmp_path: Path, export: Path) -> None:
        assay("cube", "init", tmp_path / "model")
        words = ("--docker", "--input", f"data_path={export / 'data'}", "--output", tmp_path / "out")
        ended = assay("cube", "test", tmp_path / "model", "infer", *words)
        assert ended.code == 7
        assert "leave --docker out" in ended.err

    def test_no_engine(self, assay: Assay, tmp_path: Path, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        assay("cube", "init", tmp_path / "model")
        contract = tmp_path / "model" / "container_config.yaml"
        image = f"127.0.0.1:1/model@sha256:{'a' * 64}"
        contract.write_text(contract.read_text().replace(": Folder", f": DockerImage\nimage: {image}"))
        words = ("--docker", "--input", f"data_path={export / 'data'}", "--output", tmp_path / "out")
        ended = assay("cube", "test", tmp_path / "model", "infer", *words)
        assert ended.code != 0
        assert "engine" in ended.err
        assert "Traceback" not in ended.err
