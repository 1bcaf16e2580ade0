"""An image pulled and verified ahead of its turn, without anything of it being run."""

import asyncio
import copy
import time
from collections.abc import Mapping
from typing import Any, Final

from agents.runtimes.kubernetes.cluster import AlreadyThereError, Cluster
from agents.runtimes.kubernetes.manifest import SITE_LABEL, TASK_LABEL, image_of, job_name, place, pods_of
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.kubernetes.verdict import Over, Waiting, judge
from agents.runtimes.protocol import CubeBundle

_NO_SUCH_PROGRAM: Final = "/assay/pulled-and-never-run"
_LOOK_EVERY_S: Final = 0.5
_FORGOTTEN_S: Final = 600
"""Where the agent ended before it could remove the Job. While it is there, nobody pulls the image once more."""
_SMALL: Final = {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "16Mi"}


async def pull_image(
    cluster: Cluster,
    template: Mapping[str, Any],
    cube: CubeBundle,
    settings: KubernetesSettings,
    *,
    site: str,
    node: str | None,
) -> bool:
    """Let a node that steps may run on pull a cube's image: whether it did. `node` is the agent's own.

    The pod asks for a program that no image has. The node pulls the image, verifies every digest, and fails to start it.
    """
    image = image_of(cube.contract, settings)
    name = job_name(site, f"pull-{image.rpartition(':')[2][:16]}")
    job = _pull_job(template, image, settings, site, name)
    place(job["spec"]["template"]["spec"], settings, node)
    try:
        await cluster.create("batch/v1/jobs", job)
    except AlreadyThereError:
        return True  # pulled, or being pulled, a short while ago
    try:
        return await _pulled(cluster, name, time.monotonic() + settings.pull_s)
    finally:
        await asyncio.shield(cluster.delete(f"batch/v1/jobs/{name}"))


def _pull_job(
    template: Mapping[str, Any], image: str, settings: KubernetesSettings, site: str, name: str
) -> dict[str, Any]:
    job = copy.deepcopy(dict(template))
    pod = job["spec"]["template"]
    labels = {SITE_LABEL: site, TASK_LABEL: "pull"}
    job["metadata"] |= {"name": name, "labels": {**job["metadata"].get("labels", {}), **labels}}
    pod["metadata"]["labels"] |= labels
    job["spec"]["ttlSecondsAfterFinished"] = _FORGOTTEN_S
    seconds = int(settings.pull_s) + 1
    job["spec"]["activeDeadlineSeconds"] = pod["spec"]["activeDeadlineSeconds"] = seconds
    pod["spec"].update(settings.extras())
    pod["spec"]["securityContext"] |= {"runAsUser": settings.user, "runAsGroup": settings.user}
    pod["spec"]["containers"][0] |= {
        "image": image,
        "command": [_NO_SUCH_PROGRAM],
        "resources": {"requests": _SMALL, "limits": _SMALL},
    }
    return job


async def _pulled(cluster: Cluster, name: str, end: float) -> bool:
    while time.monotonic() < end:
        listed = await cluster.get("v1/pods", labelSelector=pods_of(name))
        for pod in listed["items"]:
            verdict = judge(pod)
            if isinstance(verdict, Over):
                return (
                    any(item.get("imageID") for item in pod["status"].get("containerStatuses", ()))
                    or "pulled-and-never-run" in verdict.reason
                )
            if isinstance(verdict, Waiting) and verdict.final:
                return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return False
