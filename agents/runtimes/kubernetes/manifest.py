"""From a step request to its Job: the reviewed template with this step's names, image, command, volumes and limits."""

import copy
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.kubernetes.template import COMPONENT, STEP
from agents.runtimes.kubernetes.volumes import StepVolumes
from agents.runtimes.protocol import MIB, RuntimeSetupError, StepRequest
from agents.runtimes.surroundings import (
    CUBE,
    ENVIRONMENT,
    checked_volumes,
    folder_environment,
    gpus_of,
    image_environment,
    shared_memory_of,
)
from cubes.contract import ContainerType, Contract, Task

SITE_LABEL: Final = "assay/site"
TASK_LABEL: Final = "assay/task"
KEY_ANNOTATION: Final = "assay/key"
_BY_DIGEST: Final = re.compile(r"\S+@sha256:[0-9a-f]{64}")
_TAKEN: Final = (CUBE, ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Around:
    """What a step gets from its runtime rather than from its cube."""

    site: str
    user: int
    group: int
    environment: Path | None = None
    """The Python environment of a folder cube."""
    owner: Mapping[str, Any] | None = None
    component: str = STEP
    """Another one for the deny probe's positive control, which no policy selects."""
    node: str | None = None
    """The agent's own, where the agent is a pod: there the site's volumes are mounted, and sockets to endpoints end."""


def job_name(site: str, key: str) -> str:
    """The name of a step's Job: the same for the same key at the same site, and only then."""
    readable = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:46].rstrip("-") or STEP
    return f"{readable}-{hashlib.sha256(f'{site}/{key}'.encode()).hexdigest()[:10]}"


def pods_of(job_name: str) -> str:
    """The label selector of a Job's pods."""
    return f"batch.kubernetes.io/job-name={job_name}"


def step_job(
    template: Mapping[str, Any], request: StepRequest, settings: KubernetesSettings, around: Around
) -> dict[str, Any]:
    """The Job of one step.

    Raises:
        RuntimeSetupError: its volumes cannot be mounted, or its image is not named by digest.
    """
    job = copy.deepcopy(dict(template))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    contract = request.cube.contract
    task = contract.tasks[request.task]
    _name(job, request, around)
    seconds = settings.pull_s + request.limits.deadline_s
    # The agent keeps deadlines itself, to the second. These hold when it is away.
    pod["activeDeadlineSeconds"] = math.ceil(seconds)
    spec["activeDeadlineSeconds"] = math.ceil(settings.pending_s + seconds)
    pod.update(settings.extras())
    pod["securityContext"] |= {"runAsUser": around.user, "runAsGroup": around.group}
    volumes = _volumes(request, settings, around)
    container = pod["containers"][0]
    container |= {
        "image": image_of(contract, settings),
        "env": [{"name": name, "value": value} for name, value in _environment(contract, task, around).items()],
        "resources": _resources(request, task, settings),
        "volumeMounts": [*container["volumeMounts"], *volumes.mounts],
        **_program(contract, task),
    }
    pod["containers"] = [container]
    if contract.disposable_root and settings.writable_images:
        container["securityContext"]["readOnlyRootFilesystem"] = False
    place(pod, settings, around.node)
    if task.endpoint is not None and around.node is not None:
        # It needs no node of the kind that models compute on, only somebody to ask.
        pod.pop("nodeSelector", None)
        pin(pod, around.node)
    _limit_scratch(pod, request, task, settings)
    pod["volumes"] = [*pod["volumes"], *volumes.volumes()]
    return job


def image_of(contract: Contract, settings: KubernetesSettings) -> str:
    """The image that runs a cube, by digest.

    Raises:
        RuntimeSetupError: it is named by a tag, or is of a kind that this runtime does not run.
    """
    if contract.container_type == ContainerType.FOLDER:
        return settings.image
    if contract.container_type != ContainerType.DOCKER_IMAGE:
        kind = contract.container_type.value
        reason = contract.container_type.unsupported or "push the image to a registry and give it as a DockerImage"
        raise RuntimeSetupError(f"the kubernetes runtime runs Folder and DockerImage cubes, not {kind}: {reason}")
    if not _BY_DIGEST.fullmatch(contract.image or ""):
        raise RuntimeSetupError(
            f"the image {contract.image!r} is not named by digest: a tag may mean another image tomorrow. Write"
            " NAME@sha256:... into the contract and register the cube again"
        )
    return str(contract.image)


def place(pod: dict[str, Any], settings: KubernetesSettings, node: str | None) -> None:
    """Keep a pod on the agent's node, unless the site's claims can be mounted on several.

    The scheduler does not do it: it takes no notice of a claim that is ReadWriteOnce, and the pod would wait for ever on
    a node that cannot have the volume (https://github.com/kubernetes/kubernetes/issues/103305).
    """
    if node is not None and not settings.several_nodes:
        pin(pod, node)


def pin(pod: dict[str, Any], node: str) -> None:
    """Let a pod run on one node alone."""
    here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [here]}}
    pod["affinity"] = {**pod.get("affinity", {}), "nodeAffinity": wanted}


def place_of(job: Mapping[str, Any]) -> Any:
    """Where a Job's pod may run: equal for Jobs that may run at the same nodes."""
    return job["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity")


def _name(job: dict[str, Any], request: StepRequest, around: Around) -> None:
    labels = {SITE_LABEL: around.site, TASK_LABEL: request.task.value, COMPONENT: around.component}
    pod = job["spec"]["template"]["metadata"]
    pod["labels"] |= labels
    metadata = job["metadata"]
    metadata["name"] = job_name(around.site, request.key)
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    metadata["annotations"] = {**metadata.get("annotations", {}), KEY_ANNOTATION: request.key}
    if around.owner is not None:
        metadata["ownerReferences"] = [dict(around.owner)]


def _program(contract: Contract, task: Task) -> dict[str, Any]:
    run = task.run_args
    if contract.container_type == ContainerType.FOLDER:
        return {"command": [*run.entrypoint, *run.command], "workingDir": CUBE}
    named = {"command": list(run.entrypoint), "args": list(run.command)}
    return {key: words for key, words in named.items() if words}


def _environment(contract: Contract, task: Task, around: Around) -> dict[str, str]:
    if contract.container_type == ContainerType.FOLDER:
        return folder_environment(task, around.environment)
    return image_environment(task, {})


def _volumes(request: StepRequest, settings: KubernetesSettings, around: Around) -> StepVolumes:
    volumes = StepVolumes(settings)
    task = request.cube.contract.tasks[request.task]
    if request.cube.contract.container_type == ContainerType.FOLDER:
        volumes.add(request.cube.folder, CUBE)
        if around.environment is not None:
            volumes.add(around.environment, ENVIRONMENT)
    for name, (volume, path) in checked_volumes(request, _TAKEN).items():
        volumes.add(path, volume.mount_path, writable=name in task.output_volumes)
    return volumes


def _resources(request: StepRequest, task: Task, settings: KubernetesSettings) -> dict[str, Any]:
    """Requests are limits: what a step was promised is there, and no neighbour can take it."""
    wanted: dict[str, Any] = {
        "cpu": f"{math.ceil(task.resources.cpu * 1000)}m",
        "memory": str(request.limits.memory_bytes),
        "ephemeral-storage": f"{settings.node_disk_mib}Mi",
    }
    if gpus := gpus_of(task):
        wanted[settings.gpu_resource] = str(gpus)
    return {"requests": wanted, "limits": dict(wanted)}


def _limit_scratch(pod: dict[str, Any], request: StepRequest, task: Task, settings: KubernetesSettings) -> None:
    shm = shared_memory_of(task, at_least=settings.shm_mib * MIB, at_most=request.limits.memory_bytes)
    sizes = {"scratch": f"{settings.scratch_mib}Mi", "shm": str(shm)}
    for volume in pod["volumes"]:
        volume["emptyDir"] = {**volume["emptyDir"], "sizeLimit": sizes[volume["name"]]}
