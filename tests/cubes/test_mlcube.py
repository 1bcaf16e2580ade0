"""An `mlcube.yaml` becomes the same contract as a `container_config.yaml`, or is refused with line, key and fix."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cubes.contract import ContainerType, Contract, TaskName, load_contract, parse_contract
from cubes.errors import ContractError

MODEL = """\
name: Chest model
description: A classifier.
version: 1.0
authors:
  - {name: Somebody}
platform:
  accelerator_count: 0
docker:
  image: org/chest-model:1.2
  build_context: ../project
  build_file: Dockerfile
tasks:
  infer:
    entrypoint: python3 /project/infer.py --fast
    parameters:
      inputs:
        data_path: data/
        parameters_file: parameters.yaml
        weights: additional_files/nets/weights.pt
      outputs:
        output_path: {type: directory, default: predictions}
"""
PREPARATOR = """\
docker: {image: "org/prep@sha256:%s"}
tasks:
  prepare:
    parameters:
      inputs: {data_path: {type: directory, default: raw}, labels_path: labels/, parameters_file: parameters.yaml}
      outputs: {output_path: data/, output_labels_path: labels/, report_file: {type: file, default: report.yaml}}
  sanity_check:
    parameters: {inputs: {data_path: data/, labels_path: labels/, parameters_file: parameters.yaml}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, parameters_file: parameters.yaml}
      outputs: {output_path: {type: file, default: statistics.yaml}}
  download:
    parameters: {outputs: {anything: here/}}
""" % ("a" * 64)


def _changed(**changes: Any) -> str:
    document = yaml.safe_load(MODEL)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = document
        for parent in parents:
            target = target[parent]
        target[last] = value
    return yaml.safe_dump(document)


class TestTranslate:
    def test_a_model_with_an_entrypoint_of_its_own(self) -> None:
        contract = parse_contract(MODEL)
        task = contract.tasks[TaskName.INFER]
        assert (contract.container_type, contract.image) == (ContainerType.DOCKER_IMAGE, "org/chest-model:1.2")
        assert task.run_args.entrypoint == ("python3", "/project/infer.py", "--fast")
        assert task.run_args.command == (
            "--data_path=/mlcube_io/data_path",
            "--parameters_file=/mlcube_io/parameters_file/parameters.yaml",
            "--weights=/mlcube_io/additional_files/nets/weights.pt",
            "--output_path=/mlcube_io/output_path",
        )
        mounts = {name: (volume.mount_path, volume.type) for name, volume in task.input_volumes.items()}
        assert mounts == {
            "data_path": ("/mlcube_io/data_path", "directory"),
            "parameters_file": ("/mlcube_io/parameters_file/parameters.yaml", "file"),
            "additional_files": ("/mlcube_io/additional_files", "directory"),
        }

    def test_the_tasks_name_comes_first_where_the_image_decides(self) -> None:
        contract = parse_contract(PREPARATOR)
        assert contract.kind() == "data_preparator"
        run_args = contract.tasks[TaskName.SANITY_CHECK].run_args
        assert run_args.command[:2] == ("sanity_check", "--data_path=/mlcube_io/data_path")
        assert run_args.entrypoint == ()

    def test_an_output_file_lies_in_a_folder_that_can_be_written(self) -> None:
        """Programs write beside it and rename."""
        task = parse_contract(PREPARATOR).tasks[TaskName.STATISTICS]
        assert task.output_volumes["output_path"].type == "directory"
        assert task.run_args.command[-1] == "--output_path=/mlcube_io/output_path/statistics.yaml"

    def test_tasks_that_nobody_calls_are_left_out(self) -> None:
        assert "download" not in {task.value for task in parse_contract(PREPARATOR).tasks}

    def test_its_file_system_is_disposable(self) -> None:
        assert parse_contract(MODEL).disposable_root

    def test_gpus_and_shared_memory_are_asked_for(self) -> None:
        text = _changed(docker__gpu_args="--gpus=all --shm-size 2g", platform__accelerator_count=1)
        task = parse_contract(text).tasks[TaskName.INFER]
        assert (task.run_args.gpus, task.run_args.shm_size, task.resources.gpu) == ("all", "2g", 1)

    def test_environment_variables(self) -> None:
        task = parse_contract(_changed(docker__env_args="-e A=1 --env B=x=y")).tasks[TaskName.INFER]
        assert dict(task.run_args.environment) == {"A": "1", "B": "x=y"}

    def test_both_formats_say_the_same(self) -> None:
        other = parse_contract(
            """
            container_type: DockerImage
            image: org/chest-model:1.2
            tasks:
              infer:
                run_args: {command: [infer, --data_path=/mlcube_io/data_path, --output_path=/mlcube_io/output_path]}
                input_volumes: {data_path: {mount_path: /mlcube_io/data_path, type: directory}}
                output_volumes: {output_path: {mount_path: /mlcube_io/output_path, type: directory}}
            """
        )
        mlcube = parse_contract(
            "docker: {image: 'org/chest-model:1.2'}\n"
            "tasks: {infer: {parameters: {inputs: {data_path: data/}, outputs: {output_path: out/}}}}"
        )
        assert mlcube == other

    def test_it_comes_back_from_json_and_never_changes(self) -> None:
        contract = parse_contract(MODEL)
        assert Contract.model_validate(contract.model_dump(mode="json")) == contract
        with pytest.raises(ValidationError):
            contract.image = "other"


class TestRefuse:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"docker__privileged": True}, "docker.privileged"),
            ({"docker__gpu_args": "--privileged"}, "'--privileged' is not given to a step"),
            ({"docker__gpu_args": "--network=host"}, "'--network' is not given"),
            ({"docker__gpu_args": "--gpus"}, "'--gpus'"),
            ({"docker__gpu_args": "--gpus="}, "'--gpus'"),
            ({"docker__env_args": "-e LONELY"}, "'LONELY' is not NAME=value"),
            ({"docker__image": ["a", "list"]}, "docker.image"),
            ({"docker__image": "Upper/Case"}, "no image reference"),
            ({"platform__accelerator_count": "many"}, "platform.accelerator_count"),
            ({"tasks": {}}, "tasks"),
            ({"tasks": ["infer"]}, "tasks"),
            ({"tasks": {"train": {}}}, "'train'"),
            ({"taks": {}}, "taks"),
            ({"tasks__infer__parameters__inputs__labels_path": "labels/"}, "tasks.infer.parameters.inputs.labels_path"),
            ({"tasks__infer__parameters__inputs__weights": "../secrets"}, "not below additional_files/"),
            ({"tasks__infer__parameters__inputs__weights": "additional_files/../../x"}, "not below additional_files/"),
            ({"tasks__infer__parameters__inputs__weights": {"type": "socket"}}, "inputs.weights"),
            ({"tasks__infer__parameters__inputs__--flag": "x/"}, "inputs.--flag"),
            (
                {"tasks__infer__parameters__outputs__secrets": "s/"},
                "'secrets' is not known here; known are: output_path",
            ),
            ({"tasks__infer__parameters__outputs": {}}, "'output_path' is missing"),
            ({"tasks__infer__entrypoint": {"a": 1}}, "tasks.infer.entrypoint"),
            ({"tasks__infer__entrypoint": "python3 'unclosed"}, "tasks.infer.entrypoint"),
        ],
    )
    def test_says_where_and_why(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ContractError) as caught:
            parse_contract(_changed(**changes), "mlcube.yaml")
        assert said in str(caught.value)
        assert str(caught.value).startswith("mlcube.yaml, line ")

    def test_the_line_is_that_of_the_key(self) -> None:
        with pytest.raises(ContractError, match=r"line 19, tasks\.infer\.parameters\.inputs\.weights: "):
            parse_contract(MODEL.replace("additional_files/nets", "elsewhere"))

    @pytest.mark.parametrize(
        "bomb",
        [
            "a: &a [x, x, x]\nb: &b [*a, *a, *a]\ndocker: {image: x}\ntasks: *b",
            "docker: " + "{a: " * 50 + "1" + "}" * 50,
            "docker: {image: " + "x" * 70_000 + "}",
            "docker: {image: !!python/object/apply:os.system [id]}",
            "docker: {image: x}\ndocker: {image: y}",
        ],
    )
    def test_bombs_and_tricks(self, bomb: str) -> None:
        with pytest.raises(ContractError, match="line "):
            parse_contract(bomb)


class TestSingularity:
    def test_it_is_understood_and_refused_with_a_reason(self) -> None:
        text = "singularity: {image: model.sif}\n" + MODEL[MODEL.index("tasks:") :]
        contract = parse_contract(text)
        assert contract.container_type == ContainerType.SINGULARITY_FILE
        assert contract.container_type.unsupported is not None
        assert "apptainer" in contract.container_type.unsupported

    def test_a_docker_section_beside_it_wins(self) -> None:
        assert parse_contract("singularity: {image: model.sif}\n" + MODEL).container_type.unsupported is None


class TestLoad:
    def test_a_folder_with_an_mlcube(self, tmp_path: Path) -> None:
        (tmp_path / "mlcube.yaml").write_text(MODEL)
        assert load_contract(tmp_path).kind() == "model"

    def test_a_folder_with_both_formats(self, tmp_path: Path) -> None:
        for name in ("mlcube.yaml", "container_config.yaml"):
            (tmp_path / name).write_text(MODEL)
        with pytest.raises(ContractError, match="both there"):
            load_contract(tmp_path)
