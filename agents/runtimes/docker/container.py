"""From a step request to what the engine is told: one container, hardened, with nothing left to the engine's defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docker.types import DeviceRequest, HostConfig, LogConfig, Mount, Ulimit

from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.protocol import MIB, RuntimeSetupError, StepRequest
from agents.runtimes.surroundings import (
    CUBE,
    ENVIRONMENT,
    SCRATCH,
    checked_volumes,
    folder_environment,
    gpus_of,
    image_environment,
    shared_memory_of,
)
from cubes.contract import ContainerType, Task

SITE_LABEL: Final = "assay.site"
KEY_LABEL: Final = "assay.key"
API_VERSION: Final = "1.41"


@dataclass(frozen=True, slots=True)
class Around:
    """What a step gets from its runtime rather than from its cube."""

    site: str
    image: str
    """The identifier of an image that the engine has: a digest of its content."""
    user: int
    group: int
    environment: Path | None = None


def step_container(request: StepRequest, settings: DockerSettings, around: Around) -> dict[str, Any]:
    """The arguments of `create_container_from_config`.

    Raises:
        RuntimeSetupError: the volumes are not those of the contract, or it asks for GPUs that this engine does not give.
    """
    contract = request.cube.contract
    task = contract.tasks[request.task]
    folder = contract.container_type == ContainerType.FOLDER
    config: dict[str, Any] = {
        "Image": around.image,
        "Hostname": "step",
        "User": f"{around.user}:{around.group}",
        "Env": [f"{name}={value}" for name, value in _environment(task, around, folder=folder).items()],
        "Labels": {SITE_LABEL: around.site, KEY_LABEL: request.key},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _host_config(request, settings, _mounts(request, around, folder=folder)),
    }
    run = task.run_args
    if folder:
        return config | {"Entrypoint": [*run.entrypoint, *run.command], "WorkingDir": CUBE}
    return config | {key: list(words) for key, words in (("Entrypoint", run.entrypoint), ("Cmd", run.command)) if words}


def _host_config(request: StepRequest, settings: DockerSettings, mounts: list[Mount]) -> HostConfig:
    task, limits = request.cube.contract.tasks[request.task], request.limits
    shm = shared_memory_of(task, at_least=settings.shm_mib * MIB, at_most=limits.memory_bytes)
    return HostConfig(
        API_VERSION,
        network_mode="none",
        ipc_mode="private",
        cgroupns="private",
        read_only=not request.cube.contract.disposable_root,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        privileged=False,
        pids_limit=limits.processes,
        mem_limit=limits.memory_bytes,
        memswap_limit=limits.memory_bytes,
        nano_cpus=int(task.resources.cpu * 1e9),
        shm_size=shm,
        tmpfs={SCRATCH: f"rw,nosuid,nodev,mode=1777,size={min(settings.scratch_mib * MIB, limits.memory_bytes)}"},
        ulimits=[
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="nofile", soft=4096, hard=4096),
            Ulimit(name="fsize", soft=limits.output_bytes, hard=limits.output_bytes),
        ],
        # The agent copies what a step says while it says it; the engine keeps none of it.
        log_config=LogConfig(type=LogConfig.types.NONE),
        restart_policy={"Name": "no"},
        mounts=mounts,
        device_requests=_gpus(task, settings),
    )


def _mounts(request: StepRequest, around: Around, *, folder: bool) -> list[Mount]:
    task = request.cube.contract.tasks[request.task]
    mounts = []
    if folder:
        mounts.append(_mount(request.cube.folder, CUBE))
        if around.environment is not None:
            mounts.append(_mount(around.environment, ENVIRONMENT))
    taken = (CUBE, ENVIRONMENT) if folder else ()
    for name, (volume, path) in checked_volumes(request, taken).items():
        mounts.append(_mount(path, volume.mount_path, writable=name in task.output_volumes))
    return mounts


def _mount(path: Path, target: str, *, writable: bool = False) -> Mount:
    # By `mounts`, not by `binds`: the engine then refuses a path that is not there instead of making a folder.
    return Mount(target, str(path.resolve()), type="bind", read_only=not writable, propagation="private")


def _environment(task: Task, around: Around, *, folder: bool) -> dict[str, str]:
    return folder_environment(task, around.environment) if folder else image_environment(task, {})


def _gpus(task: Task, settings: DockerSettings) -> list[DeviceRequest] | None:
    if not gpus_of(task):
        return None
    asked = str(task.run_args.gpus or task.resources.gpu)
    if not settings.gpus:
        raise RuntimeSetupError(
            f"the cube asks for GPUs ({asked}) and this site's engine gives none: set docker.gpus = true where it has them"
        )
    capabilities = [["gpu"]]
    if asked.startswith("device="):
        return [DeviceRequest(device_ids=asked.removeprefix("device=").split(","), capabilities=capabilities)]
    return [DeviceRequest(count=-1 if asked == "all" else gpus_of(task), capabilities=capabilities)]
