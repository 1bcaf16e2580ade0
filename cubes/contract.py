"""The cube contract: what a cube is asked to do, what it gets, where it writes, what it may use.

The format is `container_config.yaml` as other federations use it, so that existing cubes run unmodified, with optional
keys of our own: `requirements`, `file_system`, `archive_digest`, `resources`, `deadline_s` and `metrics`. An `mlcube.yaml`
(`cubes.mlcube`) becomes the same. A parsed contract never changes.
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
from cubes.digests import Digest
from cubes.errors import ContractError
from cubes.image_reference import ImageReference, parse_reference
from cubes.metrics import MetricSchema
from cubes.mlcube import MLCUBE_FILE, MLCubeError, is_mlcube, translate

CONTRACT_FILE: Final = "container_config.yaml"
CONTRACT_FILES: Final = (CONTRACT_FILE, MLCUBE_FILE)
"""A cube has exactly one of them at its root."""
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
        TaskName.INFER: VolumeRule("data_path endpoint", "output_path", "data_path output_path"),
        TaskName.EVALUATE: VolumeRule(
            "predictions labels", "output_path local_outputs_path", "predictions labels output_path"
        ),
        TaskName.RUN_SCRIPT: VolumeRule("data_path labels_path model_files", "results_path", "data_path results_path"),
    }
)

# Some images keep labels with the data: one folder then serves for both.
_WITH: Final[Mapping[str, str]] = MappingProxyType({"labels_path": "data_path", "output_labels_path": "output_path"})
_KINDS: Final[Mapping[str, frozenset[TaskName]]] = MappingProxyType(
    {
        "data_preparator": frozenset({TaskName.PREPARE, TaskName.SANITY_CHECK, TaskName.STATISTICS}),
        "model": frozenset({TaskName.INFER}),
        "metrics": frozenset({TaskName.EVALUATE}),
        # Runs whatever model files it is given: a model of weights alone names one. One that reads labels scores instead.
        "script": frozenset(),
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

    @property
    def is_image(self) -> bool:
        return self is not ContainerType.FOLDER

    @property
    def unsupported(self) -> str | None:
        """Why no runtime here runs it; None for what runs."""
        return _UNSUPPORTED.get(self)


_UNSUPPORTED: Final[Mapping[ContainerType, str]] = MappingProxyType(
    {
        ContainerType.SINGULARITY_FILE: "Singularity images need apptainer, which no runtime of a site uses: give the"
        " image as a DockerImage, or export it with `docker save` as a DockerArchive",
        ContainerType.ENCRYPTED_SINGULARITY_FILE: "encrypted Singularity images need apptainer and the key at the site:"
        " give the image as a DockerImage in a registry that asks for credentials",
        ContainerType.ENCRYPTED_DOCKER_ARCHIVE: "encrypted archives need their key at the site, which would leave with"
        " the first look at memory: give a DockerImage in a registry that asks for credentials",
    }
)


def _plain_words(value: Any) -> Any:
    """Numbers of an environment are texts to a program."""
    if not isinstance(value, dict):
        return value
    return {k: str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in value.items()}


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
    BeforeValidator(_plain_words),
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
    endpoint: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] | None = None
    """A private endpoint of the site, asked through the socket in the volume `endpoint`; the step has no network."""

    @model_validator(mode="after")
    def _an_endpoint_has_a_volume(self) -> "Task":
        if (self.endpoint is None) == ("endpoint" in self.input_volumes):
            raise ValueError("the volume `endpoint` and the key `endpoint`, which names one, belong together")
        return self

    @model_validator(mode="before")
    @classmethod
    def _labels_may_lie_with_the_data(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return value | {
            side: _without_twins(value[side])
            for side in ("input_volumes", "output_volumes")
            if isinstance(value.get(side), dict)
        }

    @model_validator(mode="after")
    def _mounts_are_apart(self) -> "Task":
        paths = sorted(v.mount_path for v in (*self.input_volumes.values(), *self.output_volumes.values()))
        for first, second in combinations(paths, 2):
            if second == first or second.startswith(first + "/"):
                raise ValueError(
                    f"the mount paths {first!r} and {second!r} overlap: give each volume a path of its own"
                )
        return self


def _without_twins(volumes: dict[Any, Any]) -> dict[Any, Any]:
    return {
        name: volume
        for name, volume in volumes.items()
        if name not in _WITH or _WITH[name] not in volumes or volume != volumes[_WITH[name]]
    }


class Contract(BaseModel):
    """A whole `container_config.yaml`."""

    model_config = Frozen

    container_type: ContainerType
    image: str | None = Field(default=None, max_length=500)
    """A reference into a registry; for archives a URL, or a file beside the contract."""
    archive_digest: Digest | None = None
    """The digest of a DockerArchive that lies at a URL."""
    file_system: Literal["read_only", "disposable"] | None = None
    """Whether the program may write to its own image, into a layer that is thrown away with the step. Images of others
    were never run otherwise, so that is what they get unless they say `read_only`; folders are always read-only."""
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
            if self.file_system == "disposable":
                raise ValueError("a Folder is read-only: write to /tmp, and remove `file_system`")
        elif not self.image:
            raise ValueError(f"a {self.container_type.value} needs `image`")
        if self.container_type == ContainerType.DOCKER_IMAGE:
            parse_reference(str(self.image))
        for name, task in self.tasks.items():
            _check_volumes(name, task)
            if self.container_type == ContainerType.FOLDER and not task.run_args.command:
                raise ValueError(f"tasks.{name.value}: a Folder needs run_args.command")
        return self

    @property
    def disposable_root(self) -> bool:
        """Whether the program writes to its own file system, in a layer that is thrown away."""
        return self.container_type.is_image and self.file_system != "read_only"

    @property
    def reference(self) -> ImageReference:
        """The image of a DockerImage.

        Raises:
            ValueError: it is of another type.
        """
        if self.container_type != ContainerType.DOCKER_IMAGE or self.image is None:
            raise ValueError(f"a {self.container_type.value} names no image in a registry")
        return parse_reference(self.image)

    @property
    def unpinned(self) -> str | None:
        """Why the contract does not name the very bytes that run; None when it does."""
        if self.container_type == ContainerType.DOCKER_IMAGE and self.reference.digest is None:
            return f"the image {self.image!r} is named by a tag, which can be moved: register it by digest"
        if self.container_type == ContainerType.DOCKER_ARCHIVE and "://" in str(self.image) and not self.archive_digest:
            return f"the archive {self.image!r} lies at a URL: say its `archive_digest`"
        return None

    def kind(self) -> Literal["data_preparator", "model", "metrics", "script"]:
        """The kind of cube its tasks make it.

        Raises:
            ContractError: the tasks are none of a data preparator's, a model's, a metrics cube's or a script's.
        """
        names = frozenset(self.tasks) - {TaskName.RUN_SCRIPT}
        if not names and "labels_path" in self.tasks[TaskName.RUN_SCRIPT].input_volumes:
            return "metrics"  # in the place of a model it would score itself
        for kind, tasks in _KINDS.items():
            if names == tasks:
                return kind  # type: ignore[return-value]  # the table's keys are the kinds
        raise ContractError(
            CONTRACT_FILE,
            "tasks",
            f"{', '.join(sorted(names))} is no kind of cube",
            "A data_preparator has prepare, sanity_check and statistics; a model has infer; a metrics cube has evaluate;"
            " a script has run_script: without labels_path it runs models of files alone, with it it scores predictions.",
        )


def parse_contract(text: str, source: str = CONTRACT_FILE) -> Contract:
    """A contract from the YAML text of either format.

    Raises:
        ContractError: says line and key, the problem and the fix.
    """
    try:
        document = strict_yaml.load(text, max_bytes=MAX_CONTRACT_BYTES)
        return Contract.model_validate(translate(document, _known_volumes()) if is_mlcube(document) else document)
    except strict_yaml.StrictYamlError as problem:
        raise ContractError(source, f"line {problem.line}", problem.problem, "Correct the YAML.") from None
    except MLCubeError as problem:
        raise ContractError(source, _where(text, problem.where), str(problem), _fix("value_error")) from None
    except ValidationError as error:
        first = error.errors()[0]
        more = "" if error.error_count() == 1 else f" ({error.error_count() - 1} more)"
        said = first["msg"].removeprefix("Value error, ") + more
        keys = tuple(str(part) for part in first["loc"] if part != "[key]")
        raise ContractError(source, _where(text, keys), said, _fix(first["type"])) from None


def load_contract(folder: Path) -> Contract:
    """The contract of an unpacked cube.

    Raises:
        ContractError: missing, there twice, unreadable or wrong; the files that it names must exist.
    """
    path = _contract_file(folder)
    try:
        text = path.read_bytes()[: MAX_CONTRACT_BYTES + 1].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            str(path), "file", f"cannot be read ({type(error).__name__})", f"A cube has a {CONTRACT_FILE} at its root."
        ) from None
    contract = parse_contract(text, str(path))
    archive = contract.image if contract.container_type == ContainerType.DOCKER_ARCHIVE else None
    for key, named in (("requirements", contract.requirements), ("image", archive)):
        if named is not None and "://" not in named and not _is_inside(folder, named):
            raise ContractError(
                str(path), key, f"{named!r} is not in the folder", "Add the file, or remove or correct the key."
            )
    return contract


def _contract_file(folder: Path) -> Path:
    there = [name for name in CONTRACT_FILES if (folder / name).is_file()]
    if len(there) > 1:
        both = " and ".join(there)
        raise ContractError(str(folder), "folder", f"{both} are both there", "Remove the one that does not count.")
    return folder / (there[0] if there else CONTRACT_FILE)


def _is_inside(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def _known_volumes() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {task.value: (rule.inputs, rule.outputs) for task, rule in VOLUMES.items()}


def _where(text: str, keys: tuple[str, ...]) -> str:
    return f"line {strict_yaml.line_of(text, keys)}, {'.'.join(keys) or 'document'}"


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
    }.get(kind, "Correct it and check again with `assay cube validate`.")
