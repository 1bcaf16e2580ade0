"""The runtime itself: makes a step's Job or takes one over, follows it, says how it ended."""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agents.environments import EnvironmentCache
from agents.runtimes.kubernetes.cluster import (
    AlreadyThereError,
    Cluster,
    ClusterAwayError,
    ClusterError,
    ClusterRefusedError,
    NotThereError,
    connected,
)
from agents.runtimes.kubernetes.following import PODS, Follower
from agents.runtimes.kubernetes.ground import ClusterGround
from agents.runtimes.kubernetes.manifest import (
    KEY_ANNOTATION,
    SITE_LABEL,
    TASK_LABEL,
    Around,
    job_name,
    place_of,
    pods_of,
    step_job,
)
from agents.runtimes.kubernetes.prefetch import pull_image
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.kubernetes.template import STEP, load_template
from agents.runtimes.kubernetes.verdict import Over, is_quota
from agents.runtimes.lending import lend
from agents.runtimes.outcomes import step_outcome
from agents.runtimes.probe import is_probe, run_probe
from agents.runtimes.protocol import CubeBundle, RuntimeSetupError, StepOutcome, StepRequest
from agents.runtimes.waiting import uninterrupted
from api.schemas.border import ErrorClass, ProbeOutcome
from cubes.contract import ContainerType

JOBS: Final = "batch/v1/jobs"
CONTROL: Final = "probe-control"
"""Component of the pod that the probe is held against; steps are `STEP`."""
NODE_VARIABLE: Final = "ASSAY_NODE"
"""Where the agent is a pod: the node that it is on, from the field `spec.nodeName`."""
_GONE_S: Final = 60.0
_NODE_ANSWERS_S: Final = 3.0
"""A node that was only tainted ends its pods at once; one that is lost ends nothing."""
_AGAIN_S: Final = 0.3


class KubernetesRuntime:
    """Runs steps as Jobs of one namespace.

    Args:
        home: the site's folder; it lies in one of the volumes of the settings.
        site: the site's name, by which its Jobs are known.
        settings: the `[kubernetes]` table.
        environments: where cubes' Python environments come from; they lie in a volume too.
    """

    def __init__(self, home: Path, site: str, settings: KubernetesSettings, environments: EnvironmentCache) -> None:
        self.name = "kubernetes"
        self.outlives_agent = True
        self.settings, self.site = settings, site
        self._home, self._environments = home, environments
        self._template = load_template(settings.template)
        self._leaving = False
        self._log = structlog.get_logger().bind(runtime=self.name, namespace=settings.namespace)
        root = os.geteuid() == 0
        self._user, self._group = (settings.user, settings.user) if root else (os.geteuid(), os.getegid())

    def probe(self) -> ProbeOutcome:
        """Run the deny probe with its positive control: a pod that no policy selects reaches what a step must not."""
        outcome = run_probe(self, self._home / "work", ClusterGround(self._run_control))
        self._log.info("deny probe", isolation=outcome.isolation.value, runtime_class=self.settings.runtime_class)
        return outcome

    async def run(self, request: StepRequest) -> StepOutcome:
        """Run one step; see agents.runtimes.protocol.Runtime."""
        return await self.run_as(request, component=STEP, settings=self.settings)

    async def _run_control(self, request: StepRequest) -> StepOutcome:
        """The deny probe's positive control: no policy selects its label, and no class isolates it."""
        settings = self.settings.model_copy(update={"runtime_class": None})
        return await self.run_as(request, component=CONTROL, settings=settings)

    async def run_as(self, request: StepRequest, *, component: str, settings: KubernetesSettings) -> StepOutcome:
        """Run a step under another component's label, or other settings: what examines the cluster does."""
        contract = request.cube.contract
        if request.task not in contract.tasks:
            raise RuntimeSetupError(f"step {request.key!r} asks for {request.task.value!r}, which its cube has not")
        environment = await asyncio.to_thread(self._environment, request.cube)
        await asyncio.to_thread(self._lend, request)
        started = datetime.now(UTC)
        async with self.connected() as cluster:
            around = Around(
                site=self.site,
                user=self._user,
                group=self._group,
                environment=environment,
                owner=await self._owner(cluster),
                component=component,
                node=_own_node(),
            )
            job = step_job(self._template, request, settings, around)
            over = await self._run_job(cluster, job, request)
        self._log.info("step over", key=request.key, error=over.error, exit_code=over.exit_code, reason=over.reason)
        return step_outcome(
            request,
            started_at=over.started_at or started,
            exit_code=over.exit_code,
            error=over.error,
            reason=over.reason if over.error else "",
        )

    async def holds(self, key: str) -> bool:
        """Whether a Job of that key is there and not being deleted."""
        async with self.connected() as cluster:
            try:
                job = await cluster.get(f"{JOBS}/{job_name(self.site, key)}")
            except NotThereError:
                return False
            except ClusterError as error:
                raise RuntimeSetupError(f"nobody can say whether step {key!r} still runs: {error}") from error
        return "deletionTimestamp" not in job["metadata"]

    async def make_ready(self, cube: CubeBundle) -> None:
        """Pull the cube's image, or make its environment, while others compute."""
        try:
            await asyncio.to_thread(self._environment, cube)
            if cube.contract.container_type != ContainerType.FOLDER:
                async with self.connected() as cluster:
                    await pull_image(cluster, self._template, cube, self.settings, site=self.site, node=_own_node())
        except (ClusterError, RuntimeSetupError) as error:
            self._log.warning("a cube could not be made ready ahead of its turn", reason=str(error))

    async def sweep(self, keep: Callable[[], Collection[str]]) -> int:
        """Delete this site's Jobs whose step nobody waits for; those that are over go as well, and are not counted."""
        async with self.connected() as cluster:
            listed = await cluster.get(JOBS, labelSelector=f"{SITE_LABEL}={self.site},{TASK_LABEL}!=pull")
            kept = {job_name(self.site, key) for key in keep()}
            lost = [job for job in listed["items"] if job["metadata"]["name"] not in kept and not _is_probe(job)]
            for job in lost:
                await cluster.delete(f"{JOBS}/{job['metadata']['name']}")
        return sum(not _is_over(job) for job in lost)

    def leave(self) -> None:
        self._leaving = True

    def connected(self) -> Any:
        """A connection to the cluster, for one event loop; an async context manager of `Cluster`."""
        return connected(self.settings)

    async def _run_job(self, cluster: Cluster, job: dict[str, Any], request: StepRequest) -> Over:
        name = job["metadata"]["name"]
        try:
            if (over := await self._start(cluster, job, request)) is None:
                over = await Follower(cluster, name, request, self.settings).until_over()
        except asyncio.CancelledError:
            if not self._leaving:
                await uninterrupted(self._end(cluster, name))
            raise
        except Exception:  # whatever it was, nobody follows the pod any more
            await uninterrupted(self._end(cluster, name))
            raise
        if over.exit_code is None and over.error != ErrorClass.CLUSTER_UNREACHABLE:
            lost = over.error == ErrorClass.NODE_LOST
            await uninterrupted(self._end(cluster, name, within_s=_NODE_ANSWERS_S if lost else _GONE_S))
        return over

    async def _start(self, cluster: Cluster, job: dict[str, Any], request: StepRequest) -> Over | None:
        """Create the Job, or take over the one that is there. Where a quota of Jobs is full, it waits as for a node.

        Returns:
            None, or what became of it where the cluster stayed away or full.

        Raises:
            RuntimeSetupError: the cluster does not take it.
        """
        began, said = time.monotonic(), ""
        while True:
            try:
                await cluster.create(JOBS, job)
            except AlreadyThereError:
                if await self._can_take_over(cluster, job):
                    return None
            except ClusterError as error:
                if (over := self._given_up(error, time.monotonic() - began)) is not None:
                    return over
                if request.note is not None and said != str(error):
                    request.note(f"waiting: {error}")
                said = str(error)
            else:
                return None
            await asyncio.sleep(_AGAIN_S)

    def _given_up(self, error: ClusterError, lasted_s: float) -> Over | None:
        """What becomes of a step whose Job cannot be created; None while it may pass."""
        settings = self.settings
        if isinstance(error, ClusterAwayError):
            return Over(None, ErrorClass.CLUSTER_UNREACHABLE, str(error)) if lasted_s >= settings.away_s else None
        if is_quota(str(error)):
            return Over(None, ErrorClass.UNSCHEDULABLE, str(error)) if lasted_s >= settings.pending_s else None
        raise RuntimeSetupError(
            f"the cluster does not take a Job in namespace {settings.namespace!r}: {error}. Apply k8s/site,"
            " then ask `assay site doctor`"
        ) from error

    async def _can_take_over(self, cluster: Cluster, job: dict[str, Any]) -> bool:
        """Whether the Job of that name is this step's; False while it is being deleted, then a new one is made.

        One whose pod still waits for the node of an agent that has moved meanwhile makes room for one that need not.
        """
        name, key = job["metadata"]["name"], job["metadata"]["annotations"][KEY_ANNOTATION]
        try:
            found = await cluster.get(f"{JOBS}/{name}")
            pods = await cluster.get(PODS, labelSelector=pods_of(name))
        except (NotThereError, ClusterAwayError):
            return False
        if found["metadata"].get("annotations", {}).get(KEY_ANNOTATION) != key:
            raise RuntimeSetupError(f"the Job {name!r} exists and is not of step {key!r}: remove it")
        if "deletionTimestamp" in found["metadata"]:
            return False
        began = _is_over(found) or any("nodeName" in pod["spec"] or not _lives(pod) for pod in pods["items"])
        if place_of(found) != place_of(job) and pods["items"] and not began:
            await self._end(cluster, name)
            return False
        return True

    async def _end(self, cluster: Cluster, name: str, *, within_s: float = _GONE_S) -> None:
        """Delete the Job, and wait until its pod is gone; a cluster that is away ends it by its own deadline."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            try:
                await cluster.delete(f"{JOBS}/{name}")
                pods = await cluster.get(PODS, labelSelector=pods_of(name))
                if not any(_lives(pod) for pod in pods["items"]):
                    return
            except ClusterAwayError:
                pass
            except ClusterError as error:
                self._log.warning("a step could not be ended", job=name, reason=str(error))
                return
            await asyncio.sleep(_AGAIN_S)

    async def _owner(self, cluster: Cluster) -> Mapping[str, Any] | None:
        if self.settings.owner is None:
            return None
        name = self.settings.owner
        try:
            found = await cluster.get(f"apps/v1/deployments/{name}")
        except (NotThereError, ClusterRefusedError) as error:
            raise RuntimeSetupError(f"the owner {name!r} of steps cannot be read: {error}") from error
        except ClusterAwayError:
            return None  # creating the Job waits for the cluster; without an owner it goes by its time to live
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": found["metadata"]["uid"]}

    def _environment(self, cube: CubeBundle) -> Path | None:
        named = cube.contract.requirements
        return None if named is None else self._environments.get(cube.folder / named)

    def _lend(self, request: StepRequest) -> None:
        outputs = request.cube.contract.tasks[request.task].output_volumes
        for name, path in request.volumes.items():
            if path.resolve().is_relative_to(self._home):
                lend(path, self._user, writable=name in outputs)


def _own_node() -> str | None:
    return os.environ.get(NODE_VARIABLE)


def _is_probe(job: Mapping[str, Any]) -> bool:
    """Whether a Job is a probe under way, maybe another process's."""
    return is_probe(job["metadata"].get("annotations", {}).get(KEY_ANNOTATION, "")) and not _is_over(job)


def _is_over(job: Mapping[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return "deletionTimestamp" in job["metadata"] or any(
        condition["type"] in {"Complete", "Failed"} for condition in conditions
    )


def _lives(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
