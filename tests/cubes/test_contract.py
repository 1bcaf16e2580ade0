"""A contract is read strictly, explained when it is wrong, and never changes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cubes.contract import VOLUMES, ContainerType, TaskName, load_contract, parse_contract
from cubes.errors import ContractError

MODEL: dict[str, Any] = {
    "container_type": "Folder",
    "tasks": {
        "infer": {
            "run_args": {"command": "python3 infer.py --name 'two words'"},
            "input_volumes": {"data_path": {"mount_path": "/mlcommons/volumes/data", "type": "directory"}},
            "output_volumes": {"output_path": {"mount_path": "/mlcommons/volumes/predictions", "type": "directory"}},
        }
    },
}
FNA = Path(__file__).parents[2] / "cubes" / "breast_fna"


def _with(path: str, value: Any) -> str:
    document = yaml.safe_load(yaml.safe_dump(MODEL))
    *parents, last = path.split(".")
    target = document
    for parent in parents:
        target = target.setdefault(parent, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    return yaml.safe_dump(document)


SCRIPT = """
container_type: Folder
tasks:
  run_script:
    run_args: {command: python3 run.py}
    input_volumes:
      data_path: {mount_path: /data, type: directory}
      model_files: {mount_path: /model_files, type: directory}
    output_volumes:
      results_path: {mount_path: /results, type: directory}
"""


LABELS = "      labels_path: {mount_path: /labels, type: directory}\n      model_files:"


class TestParse:
    def test_a_command_is_split_as_a_shell_does(self) -> None:
        command = parse_contract(yaml.safe_dump(MODEL)).tasks[TaskName.INFER].run_args.command
        assert command == ("python3", "infer.py", "--name", "two words")

    def test_what_is_not_said_has_safe_values(self) -> None:
        task = parse_contract(yaml.safe_dump(MODEL)).tasks[TaskName.INFER]
        assert (task.resources.cpu, task.resources.memory_bytes, task.resources.gpu, task.deadline_s) == (
            1,
            1 << 30,
            0,
            3600,
        )

    def test_an_image_as_other_federations_write_it(self) -> None:
        text = _with("container_type", "DockerImage").replace("command: python3", "gpus: all\n      command: python3")
        document = yaml.safe_load(text)
        document["image"] = "registry.example/model@sha256:" + "a" * 64
        contract = parse_contract(yaml.safe_dump(document))
        assert contract.container_type == ContainerType.DOCKER_IMAGE
        assert contract.tasks[TaskName.INFER].run_args.gpus == "all"

    @pytest.mark.parametrize("cube", ["preparator", "models/sklearn", "models/broken", "metrics"])
    def test_our_own_cubes(self, cube: str) -> None:
        kinds = {"preparator": "data_preparator", "metrics": "metrics"}
        assert load_contract(FNA / cube).kind() == kinds.get(cube, "model")


class TestRefuse:
    @pytest.mark.parametrize(
        ("path", "value", "said"),
        [
            ("tasks.infer.run_args.network", "host", "tasks.infer.run_args.network"),
            (
                "tasks.infer.input_volumes.labels_path",
                {"mount_path": "/l", "type": "directory"},
                "'labels_path' is not known",
            ),
            ("tasks.infer.input_volumes.data_path.mount_path", "/etc/data", "belongs to the system"),
            ("tasks.infer.input_volumes.data_path.mount_path", "/a/../etc", "without '..'"),
            ("tasks.infer.input_volumes.data_path.mount_path", "data", "absolute"),
            ("tasks.infer.input_volumes.data_path.mount_path", "/mlcommons/volumes", "overlap"),
            ("tasks.infer.output_volumes.output_path", None, "'output_path' is missing"),
            ("tasks.infer.resources", {"memory": "much"}, "'512Mi'"),
            ("tasks.infer.deadline_s", -1, "deadline_s"),
            ("tasks.infer.run_args.command", None, "needs run_args.command"),
            ("tasks.train", {}, "tasks.train"),
            ("image", "busybox", "no image"),
            ("container_type", "DockerImage", "needs `image`"),
            ("container_type", "Floppy", "container_type"),
            ("requirements", "../../secrets", "requirements"),
        ],
    )
    def test_says_where_and_why(self, path: str, value: Any, said: str) -> None:
        with pytest.raises(ContractError) as caught:
            parse_contract(_with(path, value), "cube.yaml")
        assert said in str(caught.value)
        assert str(caught.value).startswith("cube.yaml, ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a: 1\na: 2", "line 2: the key 'a' appears twice"),
            ("a: &x 1\nb: *x", "line 2: aliases"),
            ("a: [", "line 1"),
            ("a: 2020-01-01", "not plain data"),
            ("a: !!python/object/apply:os.system [id]", "line 1"),
            ("x" * 70_000, "larger than 65536 bytes"),
            ("[" * 100 + "]" * 100, "nested deeper"),
            ("", "document"),
        ],
    )
    def test_yaml_that_is_not_plain(self, text: str, said: str) -> None:
        with pytest.raises(ContractError) as caught:
            parse_contract(text)
        assert all(part in str(caught.value) for part in said.split(": "))

    def test_tasks_that_make_no_kind(self) -> None:
        text = _with(
            "tasks.sanity_check",
            {"run_args": {"command": "x"}, "input_volumes": {"data_path": {"mount_path": "/d", "type": "directory"}}},
        )
        with pytest.raises(ContractError, match="no kind of cube"):
            parse_contract(text).kind()

    def test_run_script_alone_is_a_script(self) -> None:
        assert parse_contract(SCRIPT).kind() == "script"

    def test_a_script_that_reads_labels_scores(self) -> None:
        assert parse_contract(SCRIPT.replace("      model_files:", LABELS)).kind() == "metrics"

    def test_labels_that_lie_with_the_data_are_no_labels_of_a_script(self) -> None:
        with_data = LABELS.replace("mount_path: /labels", "mount_path: /data")
        assert parse_contract(SCRIPT.replace("      model_files:", with_data)).kind() == "script"

    def test_a_folder_without_a_contract(self, tmp_path: Path) -> None:
        with pytest.raises(ContractError, match="at its root"):
            load_contract(tmp_path)

    def test_requirements_that_are_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "container_config.yaml").write_text(_with("requirements", "requirements.lock"))
        with pytest.raises(ContractError, match="not in the folder"):
            load_contract(tmp_path)


class TestStaysTheSame:
    def test_nothing_can_be_changed(self) -> None:
        contract = parse_contract(yaml.safe_dump(MODEL))
        task = contract.tasks[TaskName.INFER]
        with pytest.raises(ValidationError):
            contract.image = "other"
        with pytest.raises(TypeError):
            contract.tasks[TaskName.EVALUATE] = task  # type: ignore[index]
        with pytest.raises(TypeError):
            task.run_args.environment["A"] = "b"  # type: ignore[index]
        with pytest.raises(TypeError):
            del task.input_volumes["data_path"]  # type: ignore[attr-defined]

    def test_it_comes_back_from_json(self) -> None:
        contract = parse_contract(yaml.safe_dump(MODEL))
        again = type(contract).model_validate(contract.model_dump(mode="json"))
        assert again.model_dump() == contract.model_dump()


def test_no_task_that_could_be_a_model_may_name_labels() -> None:
    assert "labels_path" not in VOLUMES[TaskName.INFER].inputs
    assert "labels" not in VOLUMES[TaskName.INFER].inputs
