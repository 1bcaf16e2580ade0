"""What a pod's status means for its step: it waits and why, it runs, or it is over and how. Tables, no cluster.

Kubernetes' own reason always goes along; the class says whose fault it is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from agents.runtimes.kubernetes.template import STEP
from api.schemas.border import ErrorClass

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running yet."""

    reason: str
    hopeless: ErrorClass | None = None
    """What it will count as, should it last: no node could ever take it, no registry gives the image."""
    final: bool = False
    """Waiting longer cannot help."""
    scheduled: bool = False
    """A node has taken the pod: what it waits for now is its image and its volumes."""


@dataclass(frozen=True, slots=True)
class Running:
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Over:
    """The step ended. `error` is None when its program ran to its own end, whatever the exit code."""

    exit_code: int | None
    error: ErrorClass | None = None
    reason: str = ""
    started_at: datetime | None = None


Verdict = Waiting | Running | Over
CREATED: Final = Waiting("the pod is being created")

_POD_REASONS: Final[Mapping[str, ErrorClass]] = {
    "Evicted": ErrorClass.EVICTED,
    "Preempting": ErrorClass.EVICTED,
    "DeadlineExceeded": ErrorClass.DEADLINE,
    "NodeLost": ErrorClass.NODE_LOST,
    "NodeShutdown": ErrorClass.NODE_LOST,
    "Shutdown": ErrorClass.NODE_LOST,
    "Terminated": ErrorClass.NODE_LOST,
    "UnexpectedAdmissionError": ErrorClass.UNSCHEDULABLE,
    "TopologyAffinityError": ErrorClass.UNSCHEDULABLE,
    "NodeAffinity": ErrorClass.UNSCHEDULABLE,
}
_DISRUPTIONS: Final[Mapping[str, ErrorClass]] = {
    "EvictionByEvictionAPI": ErrorClass.EVICTED,
    "PreemptionByScheduler": ErrorClass.EVICTED,
    "TerminationByKubelet": ErrorClass.EVICTED,
    "DeletionByTaintManager": ErrorClass.NODE_LOST,
    "DeletionByPodGC": ErrorClass.NODE_LOST,
}
_TERMINATED: Final[Mapping[str, ErrorClass]] = {
    "OOMKilled": ErrorClass.MEMORY,
    "StartError": ErrorClass.CANNOT_START,
    "ContainerCannotRun": ErrorClass.CANNOT_START,
    "ContainerStatusUnknown": ErrorClass.NODE_LOST,
    "Unknown": ErrorClass.NODE_LOST,
}
_WAITING: Final[Mapping[str, ErrorClass]] = {
    "InvalidImageName": ErrorClass.IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": ErrorClass.IMAGE_UNAVAILABLE,
    "ImageInspectError": ErrorClass.IMAGE_UNAVAILABLE,
    "SignatureValidationFailed": ErrorClass.IMAGE_UNAVAILABLE,
    "CreateContainerConfigError": ErrorClass.CANNOT_START,
    "CreateContainerError": ErrorClass.CANNOT_START,
    "RunContainerError": ErrorClass.CANNOT_START,
}
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_FINAL_WORDS: Final = (
    "not found", "manifest unknown", "unauthorized", "authentication required", "denied", "forbidden", "digest",
    "no match for platform",
)  # fmt: skip
"""What a registry says that it will say again. Anything else may be the network."""
_QUOTED: Final = re.compile(r'"[^"]*"')
"""Names and addresses in what is said: their words are nobody's answer."""
_PASSING: Final = (
    "deadline exceeded", "deadlineexceeded", "is reserved for", "code = unavailable", "failed to prepare subpath",
)  # fmt: skip
"""What a node says while its container runtime starts anew or a share does not answer: it tries again."""
_OWN_DISK: Final = (
    "usage of emptydir", "local ephemeral storage usage", "ephemeral local storage usage", "local ephemeral storage limit",
)  # fmt: skip
_NO_HELP: Final = "preemption is not helpful"
_NOT_FOR_GOOD: Final = ("were unschedulable", "taint {node.kubernetes.io/", "unbound immediate")
"""A node that is cordoned, away or just coming, a claim that is being made: they are waited for."""
_NO_YEAR: Final = 1970
_TAINT: Final = "had untolerated taint"
_FORBIDDEN: Final = " is forbidden: "
_DENIED: Final = "denied the request"
_QUOTAS: Final = ("exceeded quota", "status unknown for quota")


def judge(pod: Json) -> Verdict:
    """What a pod's status says."""
    status = pod.get("status", {})
    statuses = status.get("containerStatuses") or ()
    container: Json = next((each.get("state", {}) for each in statuses if each.get("name") == STEP), {})
    ended: Json | None = container.get("terminated")
    if ended is not None and _is_good(pod, ended):
        return Over(0, started_at=_moment(ended.get("startedAt")))
    if (taken := _taken_away(pod)) is not None:
        return taken
    if ended is not None:
        return _terminated(ended, deleted="deletionTimestamp" in pod["metadata"])
    if status.get("phase") == "Failed":
        return Over(None, ErrorClass.CANNOT_START, _words(status))
    if "running" in container:
        return Running(_moment(container["running"].get("startedAt")))
    return _waiting(status, container.get("waiting", {}))


def gone(last: Json | None) -> Over:
    """The pod is no more. `last` is how it was last seen."""
    seen = None if last is None else judge(last)
    if isinstance(seen, Over):
        return seen
    return Over(None, ErrorClass.POD_DELETED, "the pod was deleted while its step was not over")


def not_created(message: str) -> Waiting:
    """The Job controller could not make the pod; `message` is that of its event, for a pod with another name each time."""
    _, forbidden, reason = message.partition(_FORBIDDEN)
    said = f"the pod{forbidden}{reason}" if reason else message
    # Anything else, a webhook that does not answer, say, may pass.
    refused = (forbidden or _DENIED in message) and not is_quota(message)
    return Waiting(said, ErrorClass.REFUSED if refused else None)


def is_quota(message: str) -> bool:
    """Whether a quota is full, or not known yet: it is waited for."""
    return any(words in message.lower() for words in _QUOTAS)


def job_over(job: Json) -> Over | None:
    """What a Job's own end says of a step whose pod is not to be seen: one that is complete had one pod, which ended with 0."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in {"SuccessCriteriaMet", "Complete"} and condition["status"] == "True":
            return Over(0)
        if condition["type"] == "Failed" and condition["status"] == "True":
            late = condition.get("reason") == "DeadlineExceeded"
            return Over(None, ErrorClass.DEADLINE if late else ErrorClass.POD_DELETED, _words(condition))
    return None


def _taken_away(pod: Json) -> Over | None:
    """Whether the pod was ended by the cluster rather than by itself."""
    status = pod.get("status", {})
    reason = status.get("reason", "")
    if reason in _POD_REASONS or reason.startswith("OutOf"):
        error = _POD_REASONS.get(reason, ErrorClass.UNSCHEDULABLE)
        own = error == ErrorClass.EVICTED and _is_own_disk(status)
        return Over(None, ErrorClass.DISK if own else error, _words(status))
    for condition in _disruptions(pod):
        error = _DISRUPTIONS.get(condition.get("reason", ""), ErrorClass.EVICTED)
        if error == ErrorClass.EVICTED and _is_own_disk(condition):
            error = ErrorClass.DISK
        # From a node that is lost nobody reports how a program ended.
        if error == ErrorClass.NODE_LOST or _has_ended(pod):
            return Over(None, error, _words(condition))
    return None


def _disruptions(pod: Json) -> list[Json]:
    """The cluster's words that it takes the pod away."""
    conditions = pod.get("status", {}).get("conditions", ())
    return [each for each in conditions if each["type"] == "DisruptionTarget" and each["status"] == "True"]


def _is_own_disk(said: Json) -> bool:
    return any(words in str(said.get("message", "")).lower() for words in _OWN_DISK)


def _is_good(pod: Json, ended: Json) -> bool:
    """Whether a program ended well by itself: what one leaves that ends when it is told to go is not all."""
    if ended.get("exitCode") != 0 or pod["status"].get("reason") in _POD_REASONS:
        return False
    moments = [_moment(condition.get("lastTransitionTime")) for condition in _disruptions(pod)]
    if (deleted := _moment(pod["metadata"].get("deletionTimestamp"))) is not None:
        moments.append(deleted - timedelta(seconds=pod["metadata"].get("deletionGracePeriodSeconds", 0)))
    finished = _moment(ended.get("finishedAt"))
    # Seconds are all that Kubernetes tells: what ended in the same one, ended before.
    return finished is None or all(moment is None or finished <= moment for moment in moments)


def _has_ended(pod: Json) -> bool:
    status = pod.get("status", {})
    states = [item.get("state", {}) for item in status.get("containerStatuses", ())]
    return status.get("phase") == "Failed" or all("running" not in state for state in states)


def _terminated(ended: Json, *, deleted: bool) -> Over:
    code, started = ended.get("exitCode"), _moment(ended.get("startedAt"))
    error = _TERMINATED.get(ended.get("reason", ""))
    if error is not None:
        return Over(None, error, _words(ended), started)
    if deleted:
        return Over(None, ErrorClass.POD_DELETED, f"the pod was deleted; its program ended with {code}", started)
    return Over(code, None, _words(ended), started)


def _waiting(status: Json, waiting: Json) -> Waiting:
    reason = waiting.get("reason", "")
    said = str(waiting.get("message", "")).lower()
    if reason in _WAITING:
        final = not any(words in said for words in _PASSING)
        return Waiting(_words(waiting), _WAITING[reason], final=final, scheduled=True)
    if reason in _PULLING:
        final = any(words in _QUOTED.sub("", said) for words in _FINAL_WORDS)
        return Waiting(_words(waiting), ErrorClass.IMAGE_UNAVAILABLE, final=final, scheduled=True)
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled":
            if condition["status"] == "False":
                return _unscheduled(condition)
            return Waiting("its image and volumes are being made ready", scheduled=True)
    return CREATED


def _unscheduled(condition: Json) -> Waiting:
    """No node yet. Where preemption helps on none, no node could take it even if it were empty."""
    said = str(condition.get("message", "")).lower()
    helpful = "no preemption victims found" in said.rpartition("preemption: ")[2]
    never = _NO_HELP in said and not helpful and not _may_pass(said)
    return Waiting(_words(condition), ErrorClass.UNSCHEDULABLE if never else None)


def _may_pass(said: str) -> bool:
    """Whether a node may come back. Newer schedulers do not name taints: where nothing else is said, one is away."""
    reasons = said.partition("nodes are available: ")[2].partition(". ")[0].split(", ")
    return any(words in said for words in _NOT_FOR_GOOD) or all(_TAINT in reason for reason in reasons)


def _words(said: Json) -> str:
    """Kubernetes' own reason and message."""
    return ": ".join(str(said[key]) for key in ("reason", "message") if said.get(key))


def _moment(text: str | None) -> datetime | None:
    """A time, unless it is the one that stands for none."""
    moment = None if text is None else datetime.fromisoformat(text)
    return None if moment is None or moment.year == _NO_YEAR else moment
