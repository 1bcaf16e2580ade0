"""The `mlcube.yaml` format (MLCube 1.x with a `docker:` section), translated into that of `container_config.yaml`.

The image is called with the task's name as its first argument, unless the task has an `entrypoint` of its own, and then
with `--<parameter>=<path>`. Parameters that the contract knows become volumes; other inputs are paths below the cube's
additional files. An output that is a file is written into a folder of its own, as MLCube mounts the file's parent.
"""

import posixpath
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MLCUBE_FILE: Final = "mlcube.yaml"
INPUT_OUTPUT: Final = "/mlcube_io"
WORKSPACE_FILES: Final = "additional_files"
_GPUS, _SHM, _HARMLESS = "--gpus", "--shm-size", frozenset({"--rm", "-t", "-i", "-it"})
_ALLOWED: Final = "--gpus=..., --shm-size=... and --rm"

_Closed = ConfigDict(extra="forbid", frozen=True)
_ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]


class MLCubeError(ValueError):
    """What is wrong with an `mlcube.yaml`; `where` holds the keys that lead to it."""

    def __init__(self, where: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.where = where


def _words(value: Any) -> Any:
    return shlex.split(value) if isinstance(value, str) else value


def _spelled_out(value: Any) -> Any:
    """`data/` is a directory called data, `weights.pt` a file."""
    if isinstance(value, str):
        return {"type": "directory" if value.endswith("/") else "file", "default": value}
    if isinstance(value, dict) and "type" not in value:
        return {**value, "type": "directory" if str(value.get("default", "")).endswith("/") else "file"}
    return value


class _Parameter(BaseModel):
    model_config = _Closed

    type: Literal["directory", "file"]
    default: Annotated[str, StringConstraints(max_length=500)] = ""
    opts: Literal["ro", "rw"] | None = None


_Parameters = dict[_ParameterName, Annotated[_Parameter, BeforeValidator(_spelled_out)]]
_Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _InputsOutputs(BaseModel):
    model_config = _Closed

    inputs: _Parameters = Field(default={}, max_length=50)
    outputs: _Parameters = Field(default={}, max_length=50)


class _Task(BaseModel):
    model_config = _Closed

    entrypoint: _Words = ()
    parameters: _InputsOutputs = Field(default_factory=_InputsOutputs)


class _Docker(BaseModel):
    """What is for building alone is read, checked and ignored."""

    model_config = _Closed

    image: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    gpu_args: _Words = ()
    cpu_args: _Words = ()
    run_args: _Words = ()
    env_args: _Words = ()
    build_args: _Words = ()
    build_context: str = ""
    build_file: str = ""
    build_strategy: str = ""
    docker: str = ""


class _Platform(BaseModel):
    model_config = _Closed

    accelerator_count: int = Field(default=0, ge=0, le=16)
    accelerator_memory_gb: Any = None
    accelerator_memory: Any = None
    host_memory_gb: Any = None
    need_internet_access: Any = None
    host_disk_space_gb: Any = None


class MLCube(BaseModel):
    """A whole `mlcube.yaml`. Sections of other runners are ignored."""

    model_config = _Closed

    name: str = ""
    description: str = ""
    version: Any = None
    url: Any = None
    license: Any = None
    authors: Any = None
    platform: _Platform = Field(default_factory=_Platform)
    docker: _Docker | None = None
    singularity: dict[str, Any] | None = None
    ssh: Any = None
    gcp: Any = None
    k8s: Any = None
    tasks: dict[str, _Task] = Field(min_length=1)


def is_mlcube(document: Any) -> bool:
    """Whether a document is in this format rather than in that of `container_config.yaml`."""
    return (
        isinstance(document, dict)
        and "container_type" not in document
        and not {"docker", "singularity", "platform"}.isdisjoint(document)
    )


def translate(document: Any, known: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> dict[str, Any]:
    """The same cube as a document of `container_config.yaml`.

    Tasks that nobody here would call (a download, a training) are left out.

    Args:
        document: plain data from the file.
        known: task name to the inputs and outputs that it may name.

    Raises:
        pydantic.ValidationError: a key or type that the format does not have.
        MLCubeError: what cannot be said in the contract.
    """
    cube = MLCube.model_validate(document)
    tasks = {name: _task(cube, name, task, known[name]) for name, task in cube.tasks.items() if name in known}
    if not tasks:
        raise MLCubeError(("tasks",), f"none of {', '.join(map(repr, cube.tasks))} is a task of a benchmark's cube")
    if cube.docker is None:
        image = str((cube.singularity or {}).get("image", "")) or "image.sif"
        return {"container_type": "SingularityFile", "image": image, "tasks": tasks}
    return {"container_type": "DockerImage", "image": cube.docker.image, "tasks": tasks}


def _task(cube: MLCube, name: str, task: _Task, known: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, Any]:
    inputs, outputs = known
    arguments: list[str] = []
    translated: dict[str, Any] = {"input_volumes": {}, "output_volumes": {}}
    for key, parameter in task.parameters.inputs.items():
        where = ("tasks", name, "parameters", "inputs", key)
        path = _input(key, parameter, inputs, translated["input_volumes"], where)
        arguments.append(f"--{key}={path}")
    for key, parameter in task.parameters.outputs.items():
        if key not in outputs:
            where = ("tasks", name, "parameters", "outputs", key)
            raise MLCubeError(where, f"{key!r} is not known here; known are: {', '.join(outputs) or 'none'}")
        folder = f"{INPUT_OUTPUT}/{key}"
        translated["output_volumes"][key] = {"mount_path": folder, "type": "directory"}
        arguments.append(
            f"--{key}={folder}" if parameter.type == "directory" else f"--{key}={folder}/{_file(key, parameter)}"
        )
    call = {"entrypoint": list(task.entrypoint)} if task.entrypoint else {}
    translated["run_args"] = {
        **call,
        "command": [*([] if task.entrypoint else [name]), *arguments],
        **_engine(cube.docker),
    }
    if cube.platform.accelerator_count:
        translated["resources"] = {"gpu": cube.platform.accelerator_count}
    return translated


def _input(
    key: str, parameter: _Parameter, known: tuple[str, ...], volumes: dict[str, Any], where: tuple[str, ...]
) -> str:
    """The path inside the container; the volume that it lies in is added."""
    if key in known:
        folder = f"{INPUT_OUTPUT}/{key}"
        path = folder if parameter.type == "directory" else f"{folder}/{_file(key, parameter)}"
        volumes[key] = {"mount_path": path, "type": parameter.type}
        return path
    below = posixpath.normpath(parameter.default or key)
    if not below.startswith(f"{WORKSPACE_FILES}/"):
        raise MLCubeError(
            where,
            f"{key!r} is {parameter.default!r}, which is not below {WORKSPACE_FILES}/, and is no volume of this task;"
            f" those are: {', '.join(known)}",
        )
    volumes[WORKSPACE_FILES] = {"mount_path": f"{INPUT_OUTPUT}/{WORKSPACE_FILES}", "type": "directory"}
    return f"{INPUT_OUTPUT}/{below}"


def _file(key: str, parameter: _Parameter) -> str:
    return posixpath.basename(parameter.default) or key


def _engine(docker: _Docker | None) -> dict[str, Any]:
    """What a cube may ask of its engine; all else would loosen its isolation, and it would then miss it at the site."""
    found: dict[str, Any] = {}
    if docker is None:
        return found
    words = [*docker.cpu_args, *docker.run_args, *docker.gpu_args]
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option in _HARMLESS:
            continue
        if option not in {_GPUS, _SHM} or not (value or (words and not equals)):
            raise MLCubeError(("docker",), f"the option {option!r} is not given to a step; allowed are {_ALLOWED}")
        found["gpus" if option == _GPUS else "shm_size"] = value or words.pop(0)
    return {**found, **_environment(docker.env_args)}


def _environment(words: tuple[str, ...]) -> dict[str, Any]:
    """`-e NAME=value` and `--env NAME=value`, as many as there are."""
    pairs = [word.removeprefix("--env=").removeprefix("-e=") for word in words if word not in {"-e", "--env"}]
    for pair in pairs:
        if "=" not in pair:
            raise MLCubeError(("docker", "env_args"), f"{pair!r} is not NAME=value")
    return {"environment": dict(pair.split("=", 1) for pair in pairs)} if pairs else {}
