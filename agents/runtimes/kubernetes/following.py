"""Follows one step's pod until it is over: its status, its log, its outputs, the times it may take."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from agents.runtimes.kubernetes.cluster import Cluster, ClusterAwayError, ClusterRefusedError, NotThereError
from agents.runtimes.kubernetes.logs import PodLog
from agents.runtimes.kubernetes.manifest import pods_of
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.kubernetes.verdict import (
    CREATED,
    Over,
    Running,
    Verdict,
    Waiting,
    gone,
    job_over,
    judge,
    not_created,
)
from agents.runtimes.measure import disk_use
from agents.runtimes.protocol import RuntimeSetupError, StepRequest
from agents.runtimes.telling import Teller
from api.schemas.border import ErrorClass

PODS: Final = "v1/pods"
_LOOK_EVERY_S: Final = 1.0
_NO_POD_YET_S: Final = 1.0
_BACK_OFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(slots=True)
class _Seen:
    """What is known of the pod by now."""

    verdict: Verdict = CREATED
    since: float = field(default_factory=time.monotonic)
    """When the verdict last changed its kind or its class."""
    pod: str | None = None
    was_waiting: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Follower:
    """One step's pod, followed.

    Args:
        cluster: where it is.
        name: of its Job.
        request: what runs.
        settings: how long what may take.
    """

    def __init__(self, cluster: Cluster, name: str, request: StepRequest, settings: KubernetesSettings) -> None:
        self._cluster, self._name, self._request, self._settings = cluster, name, request, settings
        self._seen = _Seen()
        self._teller = Teller(request.tell, request.note)
        self._log = PodLog(cluster, request.log, request.limits.log_bytes, self._teller)
        self._limit: Over | None = None
        self._last: dict[str, Any] | None = None
        self._listed, self._ever_listed = False, False
        """Whether the cluster has told which pods there are: at the last try, and at all."""

    async def until_over(self) -> Over:
        """How the step ended, or why it must be ended now: then its pod still runs.

        Raises:
            RuntimeSetupError: the site may not look at its own pods.
        """
        tasks = [asyncio.create_task(job) for job in (self._watch(), self._copy_log(), self._look())]
        try:
            over = await self._decide(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._seen.pod is not None and over.error != ErrorClass.CLUSTER_UNREACHABLE:
            await self._log.finish(self._seen.pod)
        self._teller.end()
        return await self._final(over)

    async def _decide(self, tasks: list[asyncio.Task[None]]) -> Over:
        while True:
            self._seen.changed.clear()
            over = self._limit or self._judged()
            if over is not None:
                return over
            for task in tasks:
                if task.done():
                    task.result()
            waiting = asyncio.create_task(self._seen.changed.wait())
            try:
                await asyncio.wait({waiting, *(task for task in tasks if not task.done())}, timeout=self._next_look(),
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            finally:
                waiting.cancel()

    def _judged(self) -> Over | None:
        """The end, if this is one: by the pod's own verdict, or because something took too long."""
        verdict, settings = self._seen.verdict, self._settings
        if isinstance(verdict, Over):
            return verdict
        lasted = time.monotonic() - self._seen.since
        if isinstance(verdict, Running):
            late = self._ran_s(verdict, lasted) >= self._request.limits.deadline_s
            return Over(None, ErrorClass.DEADLINE) if late else None
        if verdict.hopeless is not None and (verdict.final or lasted >= self._patience_s(verdict)):
            return Over(None, verdict.hopeless, verdict.reason)
        if verdict.scheduled:
            return Over(None, ErrorClass.CANNOT_START, verdict.reason) if lasted >= settings.pull_s else None
        return Over(None, ErrorClass.UNSCHEDULABLE, verdict.reason) if lasted >= settings.pending_s else None

    def _patience_s(self, waiting: Waiting) -> float:
        if waiting.scheduled:  # its node tries again and again: an image's registry, a container, a volume
            return self._settings.pull_retry_s
        return self._settings.hopeless_s

    def _ran_s(self, running: Running, lasted: float) -> float:
        """How long a step has run: by our own clock where we saw it start, by the node's where we came later."""
        if self._seen.was_waiting or running.started_at is None:
            return lasted
        return max(lasted, (datetime.now(UTC) - running.started_at).total_seconds())

    def _next_look(self) -> float:
        verdict = self._seen.verdict
        if isinstance(verdict, Running):
            left = self._request.limits.deadline_s - self._ran_s(verdict, time.monotonic() - self._seen.since)
            return max(0.0, left)
        return 0.5

    def _note(self, verdict: Verdict) -> None:
        old = self._seen.verdict
        if _kind(old) != _kind(verdict):
            self._seen.since = time.monotonic()
        if isinstance(verdict, Waiting):
            self._seen.was_waiting = True
            if not isinstance(old, Waiting) or old.reason != verdict.reason:
                self._teller.say(f"waiting: {verdict.reason}")
        elif isinstance(verdict, Running) and isinstance(old, Waiting):
            self._teller.say("running")
        self._seen.verdict = verdict
        self._seen.changed.set()

    async def _watch(self) -> None:
        """Keep the verdict as fresh as the cluster's own view, through breaks of the connection."""
        failures, away_since = 0, 0.0
        while not isinstance(self._seen.verdict, Over):
            self._listed = False
            try:
                await self._watch_once()
                failures = 0
            except (ClusterAwayError, ClusterRefusedError) as error:
                # An API server that has just started refuses everybody until it knows who may what.
                if isinstance(error, ClusterRefusedError) and not self._ever_listed:
                    raise RuntimeSetupError(
                        f"the agent may not look at its pods: {error}. See `assay site doctor`"
                    ) from error
                # What comes between us and the cluster may cut every watch: a cluster that lists is not away.
                if self._listed or failures == 0:
                    failures, away_since = 0, time.monotonic()
                if time.monotonic() - away_since >= self._settings.away_s:
                    self._note(Over(None, ErrorClass.CLUSTER_UNREACHABLE, str(error)))
                    return
                if failures == 1:
                    self._teller.say(f"the cluster does not answer ({error}): the step goes on, trying again")
                await asyncio.sleep(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
                failures += 1

    async def _watch_once(self) -> None:
        selector = {"labelSelector": pods_of(self._name)}
        listed = await self._cluster.get(PODS, **selector)
        self._listed = self._ever_listed = True
        for pod in listed["items"]:
            self._see(pod)
        if not listed["items"]:
            await self._see_no_pod()
        since = listed["metadata"]["resourceVersion"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self._seen.pod else _NO_POD_YET_S):
                async for kind, pod in self._cluster.watch(PODS, since=since, **selector):
                    self._see(pod)
                    if kind == "DELETED":
                        self._note(gone(pod))
                    if isinstance(self._seen.verdict, Over):
                        return

    def _see(self, pod: dict[str, Any]) -> None:
        self._last, self._seen.pod = pod, pod["metadata"]["name"]
        self._note(judge(pod))

    async def _see_no_pod(self) -> None:
        """No pod: not yet, never, or not any more."""
        if self._last is not None:
            self._note(gone(self._last))
            return
        try:
            job = await self._cluster.get(f"batch/v1/jobs/{self._name}")
        except NotThereError:
            self._note(Over(None, ErrorClass.POD_DELETED, "the step's Job was deleted"))
            return
        if (over := job_over(job)) is not None:
            self._note(over)
        elif (message := await self._creation_problem(job["metadata"]["uid"])) is not None:
            self._note(not_created(message))

    async def _creation_problem(self, uid: str) -> str | None:
        """Why the Job controller could not make the pod. Without the right to read events nobody knows."""
        fields = f"involvedObject.uid={uid},reason=FailedCreate"
        try:
            events = await self._cluster.get("v1/events", fieldSelector=fields)
        except ClusterRefusedError:
            return None
        return str(events["items"][-1].get("message")) if events["items"] else None

    async def _copy_log(self) -> None:
        while True:
            await self._seen.changed.wait()
            if self._seen.pod is not None and isinstance(self._seen.verdict, Running):
                break
            await asyncio.sleep(0)
        await self._log.follow(self._seen.pod)
        if self._log.too_large:
            self._end_for(ErrorClass.LOG_TOO_LARGE)

    async def _look(self) -> None:
        """Look again and again at what the cluster does not limit: the size of the outputs."""
        while self._limit is None:
            await asyncio.sleep(_LOOK_EVERY_S)
            if isinstance(self._seen.verdict, Running) and (error := await self._outputs_passed()) is not None:
                self._end_for(error)

    def _end_for(self, error: ErrorClass) -> None:
        self._limit = Over(None, error)
        self._seen.changed.set()

    async def _outputs_passed(self) -> ErrorClass | None:
        request = self._request
        task = request.cube.contract.tasks[request.task]
        outputs = [request.volumes[name] for name in task.output_volumes]
        use = await asyncio.to_thread(disk_use, outputs)
        if use.closed:
            return ErrorClass.OUTPUT_MALFORMED
        # The folders themselves are the site's.
        return ErrorClass.OUTPUT_TOO_LARGE if use.size > request.limits.output_bytes + 4096 * len(outputs) else None

    async def _final(self, over: Over) -> Over:
        """What can be known only when all is over."""
        if over.error is not None:
            return over
        error = ErrorClass.LOG_TOO_LARGE if self._log.too_large else await self._outputs_passed()
        return over if error is None else Over(None, error, started_at=over.started_at)


def _kind(verdict: Verdict) -> tuple[type, object, bool]:
    if isinstance(verdict, Waiting):
        return Waiting, verdict.hopeless, verdict.scheduled
    return type(verdict), None, False
