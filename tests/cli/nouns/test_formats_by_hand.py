"""Both formats as a newcomer meets them: cubes of other federations' kinds, understood and run by commands, from nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cubes.reports import read_statistics
from tests.cli.support import Assay
from tests.small_images import Entry, image_registry, make_image, programs

RUN = b"""#!/bin/sh
task=$1; shift
for word in "$@"; do
  case $word in
    --data_path=*) data=${word#*=};; --labels_path=*) labels=${word#*=};; --output_path=*) out=${word#*=};;
    --output_labels_path=*) out_labels=${word#*=};; --predictions=*) predictions=${word#*=};; --labels=*) labels=${word#*=};;
    --weights=*) weights=${word#*=};;
  esac
done
case $task in
  prepare) sort "$data/cases" > "$out/cases"; cat "$labels/labels" > "$out_labels/labels"; echo x > /of-its-own;;
  sanity_check) [ -s "$data/cases" ];;
  statistics) echo "cases: $(wc -l < "$data/cases")" > "$out";;
  infer) { cat "$weights"; cat "$data/cases"; } > "$out/predicted";;
  evaluate) cmp -s "$predictions/predicted" "$labels/labels" && echo 'accuracy: 1' > "$out" || echo 'accuracy: 0.5' > "$out";;
esac
"""


def _volumes(*names: str) -> str:
    return "{" + ", ".join(f"{name}: {{mount_path: /v/{name}, type: directory}}" for name in names) + "}"


def _task(name: str, inputs: list[str], outputs: str, words: list[str]) -> str:
    said = ", ".join(f"--{key}=/v/{key}" for key in inputs)
    return f"""
  {name}:
    run_args: {{command: [{", ".join(filter(None, [name, said, *words]))}]}}
    input_volumes: {_volumes(*inputs)}
    output_volumes: {outputs}"""


CONTAINER = {
    "data_preparator": "".join(
        [
            _task(
                "prepare",
                ["data_path", "labels_path"],
                _volumes("output_path", "output_labels_path"),
                ["--output_path=/v/output_path", "--output_labels_path=/v/output_labels_path"],
            ),
            _task("sanity_check", ["data_path"], "{}", []),
            _task(
                "statistics",
                ["data_path"],
                "{output_path: {mount_path: /statistics.yaml, type: file}}",
                ["--output_path=/statistics.yaml"],
            ),
        ]
    ),
    "model": _task(
        "infer",
        ["data_path", "additional_files"],
        _volumes("output_path"),
        ["--output_path=/v/output_path", "--weights=/v/additional_files/weights"],
    ),
    "metrics": _task(
        "evaluate",
        ["predictions", "labels"],
        "{output_path: {mount_path: /results.yaml, type: file}}",
        ["--output_path=/results.yaml"],
    ),
}
MLCUBE = {
    "data_preparator": """
  prepare:
    parameters:
      inputs: {data_path: raw/, labels_path: labels/}
      outputs: {output_path: prepared/, output_labels_path: prepared_labels/}
  sanity_check: {parameters: {inputs: {data_path: prepared/}}}
  statistics: {parameters: {inputs: {data_path: prepared/}, outputs: {output_path: statistics.yaml}}}""",
    "model": """
  infer:
    parameters:
      inputs: {data_path: prepared/, weights: additional_files/weights}
      outputs: {output_path: {type: directory, default: predictions}}""",
    "metrics": """
  evaluate: {parameters: {inputs: {predictions: predictions/, labels: labels/}, outputs: {output_path: results.yaml}}}""",
}


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The reference of a tiny image in a registry of its own."""
    script: list[Entry] = [(".", {"type": b"5", "mode": 0o1777}, b""), ("run.sh", {"mode": 0o755}, RUN)]
    built = make_image(
        programs("sh", "cat", "sort", "wc", "cmp"), script, process={"Entrypoint": ["/run.sh"], "Env": ["PATH=/bin"]}
    )
    with image_registry() as registry:
        yield str(registry.push(built))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    for name, file, text in (
        ("data", "cases", "b\na\n"),
        ("labels", "labels", "w\na\nb\n"),
        ("files", "weights", "w\n"),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_text(text)
    return folder


def _cube(folder: Path, form: str, kind: str, image: str) -> Path:
    folder.mkdir(parents=True)
    if form == "mlcube":
        (folder / "mlcube.yaml").write_text(f"name: x\ndocker: {{image: '{image}'}}\ntasks:{MLCUBE[kind]}\n")
    else:
        head = f"container_type: DockerImage\nimage: {image}\ntasks:"
        (folder / "container_config.yaml").write_text(f"{head}{CONTAINER[kind]}\n")
    return folder


def _test(assay: Assay, cube: Path, task: str, output: Path, **inputs: Path) -> Path:
    words = [word for name, path in inputs.items() for word in ("--input", f"{name}={path}")]
    ended = assay("cube", "test", cube, task, "--output", output, *words)
    assert ended.code == 0, ended.err
    return output


def _report(place: Path) -> Path:
    """MLCube mounts the folder that a file lies in."""
    return next(place.iterdir()) if place.is_dir() else place


@pytest.mark.parametrize("form", ["container_config", "mlcube"])
class TestByHand:
    @pytest.mark.parametrize("kind", sorted(CONTAINER))
    def test_each_kind_is_understood(self, assay: Assay, tmp_path: Path, image: str, form: str, kind: str) -> None:
        found = assay("cube", "validate", _cube(tmp_path / "cube", form, kind, image), "--json")
        assert found.code == 0, found.err
        assert found.json["kind"] == kind
        assert found.json["contract"]["image"] == image

    def test_a_whole_pipeline(self, assay: Assay, tmp_path: Path, image: str, export: Path, form: str) -> None:
        cubes = {kind: _cube(tmp_path / kind, form, kind, image) for kind in CONTAINER}
        preparator = cubes["data_preparator"]
        raw = {"data_path": export / "data", "labels_path": export / "labels"}
        prepared = _test(assay, preparator, "prepare", tmp_path / "1", **raw)
        data, labels = prepared / "output_path", prepared / "output_labels_path"
        _test(assay, preparator, "sanity_check", tmp_path / "2", data_path=data)
        counted = _test(assay, preparator, "statistics", tmp_path / "3", data_path=data)
        assert read_statistics(_report(counted / "output_path")) == {"cases": 2}
        files = {"additional_files": export / "files"}
        predicted = _test(assay, cubes["model"], "infer", tmp_path / "4", data_path=data, **files)
        assert (predicted / "output_path" / "predicted").read_text() == "w\na\nb\n"
        inputs = {"predictions": predicted / "output_path", "labels": labels}
        scored = _test(assay, cubes["metrics"], "evaluate", tmp_path / "5", **inputs)
        assert read_statistics(_report(scored / "output_path")) == {"accuracy": 1}
