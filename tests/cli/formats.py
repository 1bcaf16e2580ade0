"""Both formats of cubes as other federations have them, around one tiny image of a shell script that does every task."""

from pathlib import Path
from typing import Final

from tests.small_images import Entry, Image, make_image, programs

RUN: Final = b"""#!/bin/sh
task=$1; shift
for word in "$@"; do
  case $word in
    --data_path=*) data=${word#*=};; --labels_path=*) labels=${word#*=};; --output_path=*) out=${word#*=};;
    --output_labels_path=*) out_labels=${word#*=};; --predictions=*) predictions=${word#*=};; --labels=*) labels=${word#*=};;
    --weights=*) weights=${word#*=};;
  esac
done
case $task in
  prepare) sort "$data/cases" > "$out/cases"; cat "$labels/labels" > "$out_labels/labels"; echo x > /own/written;;
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


CONTAINER: Final = {
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
MLCUBE: Final = {
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


def format_image() -> Image:
    """The image of every cube of this module."""
    script: list[Entry] = [("own", {"type": b"5", "mode": 0o1777}, b""), ("run.sh", {"mode": 0o755}, RUN)]
    return make_image(
        programs("sh", "cat", "sort", "wc", "cmp"), script, process={"Entrypoint": ["/run.sh"], "Env": ["PATH=/bin"]}
    )


def write_cube(folder: Path, form: str, kind: str, image: str) -> Path:
    """A cube of `form` (`container_config` or `mlcube`) and of a kind."""
    folder.mkdir(parents=True)
    if form == "mlcube":
        (folder / "mlcube.yaml").write_text(f"name: x\ndocker: {{image: '{image}'}}\ntasks:{MLCUBE[kind]}\n")
    else:
        head = f"container_type: DockerImage\nimage: {image}\ntasks:"
        (folder / "container_config.yaml").write_text(f"{head}{CONTAINER[kind]}\n")
    return folder


def write_files(folder: Path) -> Path:
    """What the cubes understand: raw `data` and `labels`, and `files` of a model that is right about every case."""
    for name, file, text in (
        ("data", "cases", "b\na\n"),
        ("labels", "labels", "w\na\nb\n"),
        ("files", "weights", "w\n"),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_text(text)
    return folder
