"""The cube contract: what a cube is asked to do, what it gets, where it writes, what it may use.

The format is `container_config.yaml` as other federations use it, so that existing cubes run unmodified, with optional
keys of our own: `requirements`, `resources`, `deadline_s` and `metrics`. A parsed contract never changes.
"""

import posixpath
import shlex
from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from cubes import strict_yaml
from cubes.errors import ContractError
from cubes.metrics import MetricSchema

CONTRACT_FILE: Final = "container_config.yaml"
MAX_CONTRACT_BYTES: Final = 64 * 1024
_UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_RESERVED: Final = ("/proc", "/dev", "/sys", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/run")


class TaskName(StrEnum):
    PREPARE = "prepare"
    SANITY_CHECK = "sanity_check"
    STATISTICS = "statistics"
    INFER = "infer"
    EVALUATE = "evaluate"
    RUN_SCRIPT = "run_script"


class VolumeRule:
    """Which volumes a task may name; `needed` ones it must."""

    def __init__(self, inputs: str, outputs: str, needed: str) -> None:
        self.inputs = (*inputs.split(), "parameters_file", "additional_files")
        self.outputs, self.needed = tuple(outputs.split()), tuple(needed.split())


VOLUMES: Final[Mapping[TaskName, VolumeRule]] = MappingProxyType(
    {
        TaskName.PREPARE: VolumeRule(
            "data_path labels_path",
            "output_path output_labels_path metadata_path report_file",
            "data_path output_path",
        ),
        TaskName.SANITY_CHECK: VolumeRule("data_path labels_path metadata_path", "", "data_path"),
        TaskName.STATISTICS: VolumeRule("data_path labels_path metadata_path", "output_path", "data_path output_path"),
        # No labels: a model that sees them is worth nothing.
        TaskName.INFER: VolumeRule("data_path", "output_path", "data_path output_path"),
        TaskName.EVALUATE: VolumeRule(
            "predictions labels", "output_path local_outputs_path", "predictions labels output_path"
        ),
        TaskName.RUN_SCRIPT: VolumeRule("data_path labels_path model_files", "results_path", "results_path"),
    }
)

_KINDS: Final[Mapping[str, frozenset[TaskName]]] = MappingProxyType(
    {
        "data_preparator": frozenset({TaskName.PREPARE, TaskName.SANITY_CHECK, TaskName.STATISTICS}),
        "model": frozenset({TaskName.INFER}),
        "metrics": frozenset({TaskName.EVALUATE}),
    }
)


class ContainerType(StrEnum):
    FOLDER = "Folder"
    """A folder of programs, packed and named by its digest; runs without any container engine."""
    DOCKER_IMAGE = "DockerImage"
    DOCKER_ARCHIVE = "DockerArchive"
    ENCRYPTED_DOCKER_ARCHIVE = "EncryptedDockerArchive"
    SINGULARITY_FILE = "SingularityFile"
    ENCRYPTED_SINGULARITY_FILE = "EncryptedSingularityFile"


def _split(value: Any) -> Any:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _clean_mount(path: str) -> str:
    if not path.startswith("/") or posixpath.normpath(path) != path or path == "/":
        raise ValueError(f"{path!r} must be an absolute path without '..', '//' or a trailing '/'")
    if any(path == taken or path.startswith(taken + "/") for taken in _RESERVED):
        raise ValueError(f"{path!r} belongs to the system: choose a path like /mlcommons/volumes/...")
    return path


def _bytes(value: Any) -> Any:
    if isinstance(value, str) and value[:-2].isdigit() and value[-2:] in _UNITS:
        return int(value[:-2]) * _UNITS[value[-2:]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not an amount of memory: write it as '512Mi' or '4Gi'")


Frozen = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
_Texts = Annotated[
    Mapping[str, str],
    AfterValidator(lambda value: MappingProxyType(dict(value))),
    PlainSerializer(dict, return_type=dict[str, str]),
]


class Volume(BaseModel):
    """Where a cube wants an input or output, and whether it is a folder or a file."""

    model_config = Frozen

    mount_path: Annotated[str, Field(max_length=500), AfterValidator(_clean_mount)]
    type: Literal["directory", "file"]


_Volumes = Annotated[
    Mapping[str, Volume],
    AfterValidator(lambda value: MappingProxyType(dict(value))),
    PlainSerializer(dict, return_type=dict[str, Volume]),
]


class RunArgs(BaseModel):
    """How the program is called. A string command is split as a shell splits words."""

    model_config = Frozen

    command: Words = ()
    entrypoint: Words = ()
    environment: _Texts = Field(default={}, validate_default=True, max_length=100)
    gpus: str | int | None = None
    shm_size: str | int | None = None


class Resources(BaseModel):
    """What a step asks for; the site grants it within its own limits."""

    model_config = Frozen | ConfigDict(validate_by_name=True, validate_by_alias=True)

    cpu: float = Field(default=1.0, gt=0, le=256)
    memory_bytes: Annotated[int, BeforeValidator(_bytes), Field(ge=16 << 20, alias="memory")] = 1 << 30
    gpu: int = Field(default=0, ge=0, le=16)


class Task(BaseModel):
    """One task of a cube."""

    model_config = Frozen

    run_args: RunArgs = Field(default_factory=RunArgs)
    input_volumes: _Volumes = Field(default={}, validate_default=True)
    output_volumes: _Volumes = Field(default={}, validate_default=True)
    resources: Resources = Field(default_factory=Resources)
    deadline_s: float = Field(default=3600.0, gt=0, le=14 * 86_400)

    @model_validator(mode="after")
    def _mounts_are_apart(self) -> "Task":
        paths = sorted(v.mount_path for v in (*self.input_volumes.values(), *self.output_volumes.values()))
        for first, second in combinations(paths, 2):
            if second == first or second.startswith(first + "/"):
                raise ValueError(
                    f"the mount paths {first!r} and {second!r} overlap: give each volume a path of its own"
                )
        return self


class Contract(BaseModel):
    """A whole `container_config.yaml`."""

    model_config = Frozen

    container_type: ContainerType
    image: str | None = Field(default=None, max_length=500)
    requirements: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")] | None = None
    """A hash-locked list of Python packages inside the folder (`Folder` cubes)."""
    tasks: Annotated[
        Mapping[TaskName, Task],
        AfterValidator(lambda value: MappingProxyType(dict(value))),
        PlainSerializer(dict, return_type=dict[TaskName, Task]),
    ] = Field(min_length=1)
    metrics: tuple[MetricSchema, ...] = Field(default=(), max_length=50)

    @model_validator(mode="after")
    def _fits_together(self) -> "Contract":
        if self.container_type == ContainerType.FOLDER:
            if self.image is not None:
                raise ValueError("a Folder has no image: remove `image`")
        elif not self.image:
            raise ValueError(f"a {self.container_type.value} needs `image`")
        for name, task in self.tasks.items():
            _check_volumes(name, task)
            if self.container_type == ContainerType.FOLDER and not task.run_args.command:
                raise ValueError(f"tasks.{name.value}: a Folder needs run_args.command")
        return self

    def kind(self) -> Literal["data_preparator", "model", "metrics"]:
        """The kind of cube its tasks make it.

        Raises:
            ContractError: the tasks are none of a data preparator's, a model's or a metrics cube's.
        """
        names = frozenset(self.tasks) - {TaskName.RUN_SCRIPT}
        for kind, tasks in _KINDS.items():
            if names == tasks:
                return kind  # type: ignore[return-value]  # the table's keys are the three kinds
        raise ContractError(
            CONTRACT_FILE,
            "tasks",
            f"{', '.join(sorted(names)) or 'nothing'} is no kind of cube",
            "A data_preparator has prepare, sanity_check and statistics; a model has infer; a metrics cube has evaluate.",
        )


def parse_contract(text: str, source: str = CONTRACT_FILE) -> Contract:
    """A contract from its YAML text.

    Raises:
        ContractError: says line or key, the problem and the fix.
    """
    try:
        return Contract.model_validate(strict_yaml.load(text, max_bytes=MAX_CONTRACT_BYTES))
    except strict_yaml.StrictYamlError as problem:
        raise ContractError(source, f"line {problem.line}", problem.problem, "Correct the YAML.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "document"
        more = "" if error.error_count() == 1 else f" ({error.error_count() - 1} more)"
        raise ContractError(
            source, where, first["msg"].removeprefix("Value error, ") + more, _fix(first["type"])
        ) from None


def load_contract(folder: Path) -> Contract:
    """The contract of an unpacked cube.

    Raises:
        ContractError: missing, unreadable or wrong; the requirements it names must exist.
    """
    path = folder / CONTRACT_FILE
    try:
        text = path.read_bytes()[: MAX_CONTRACT_BYTES + 1].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            str(path), "file", f"cannot be read ({type(error).__name__})", f"A cube has a {CONTRACT_FILE} at its root."
        ) from None
    contract = parse_contract(text, str(path))
    if contract.requirements is not None and not (folder / contract.requirements).is_file():
        raise ContractError(
            str(path),
            "requirements",
            f"{contract.requirements!r} is not in the folder",
            "Add the file or remove the key.",
        )
    return contract


def _check_volumes(name: TaskName, task: Task) -> None:
    rule = VOLUMES[name]
    for direction, named, known in (
        ("input_volumes", task.input_volumes, rule.inputs),
        ("output_volumes", task.output_volumes, rule.outputs),
    ):
        for volume in named:
            if volume not in known:
                listed = ", ".join(known) or "none"
                raise ValueError(f"tasks.{name.value}.{direction}: {volume!r} is not known here; known are: {listed}")
    missing = [v for v in rule.needed if v not in task.input_volumes and v not in task.output_volumes]
    if missing:
        raise ValueError(f"tasks.{name.value}: the volume {missing[0]!r} is missing; every {name.value} task needs it")


def _fix(kind: str) -> str:
    return {
        "extra_forbidden": "Remove the key, or look for a typing error.",
        "missing": "Add the key.",
        "enum": "Use one of the values listed.",
    }.get(kind, "Correct it and check again with `assay cube check`.")
