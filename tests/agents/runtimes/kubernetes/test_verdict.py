"""What a pod's status means, on statuses as real clusters write them."""

from typing import Any

import pytest

from agents.runtimes.kubernetes.verdict import CREATED, Over, Running, Waiting, gone, job_over, judge, not_created
from api.schemas.border import ErrorClass

NODES = "0/3 nodes are available: "
NO_HELP = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
NO_VICTIM = NO_HELP.replace("3 Preemption", "1 No preemption victims found for incoming pod, 2 Preemption")


def _pod(*, phase: str = "Pending", deleted: bool = False, state: dict[str, Any] | None = None, **status: Any) -> Any:
    containers = {} if state is None else {"containerStatuses": [{"name": "step", "state": state}]}
    return {
        "metadata": {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})},
        "status": {"phase": phase, **containers, **status},
    }


def _condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


def _unscheduled(message: str) -> Waiting:
    verdict = judge(_pod(**_condition("PodScheduled", "False", "Unschedulable", message)))
    assert isinstance(verdict, Waiting)
    assert message in verdict.reason
    return verdict


class TestWaiting:
    def test_a_new_pod(self) -> None:
        assert judge(_pod()) == CREATED

    @pytest.mark.parametrize(
        "message",
        [
            f"{NODES}3 Insufficient nvidia.com/gpu. {NO_HELP}",
            f"{NODES}1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu. {NO_HELP}",
            f"{NODES}1 node(s) had untolerated taint {{node-role.kubernetes.io/control-plane: }}, 2 Insufficient cpu. {NO_HELP}",
            f"{NODES}3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, {NO_HELP}",
            f"{NODES}3 node(s) had volume node affinity conflict. {NO_HELP}",
        ],
    )
    def test_where_no_node_could_ever_take_it(self, message: str) -> None:
        verdict = _unscheduled(message)
        assert (verdict.hopeless, verdict.final) == (ErrorClass.UNSCHEDULABLE, False)

    @pytest.mark.parametrize(
        "message",
        [
            f"{NODES}3 Insufficient nvidia.com/gpu. {NO_VICTIM}",
            f"{NODES}1 node(s) were unschedulable, 2 Insufficient nvidia.com/gpu. {NO_HELP}",
            f"{NODES}3 node(s) had untolerated taint(s). no new claims to deallocate, {NO_HELP}",
            f"{NODES}1 node(s) had untolerated taint {{node.kubernetes.io/not-ready: }}, 2 Insufficient cpu. {NO_HELP}",
            f"{NODES}pod has unbound immediate PersistentVolumeClaims. {NO_HELP}",
            'persistentvolumeclaim "assay-site" not found',
        ],
    )
    def test_where_a_node_may_become_free_or_come_back(self, message: str) -> None:
        """Busy, cordoned, restarting, a claim that is being made."""
        assert _unscheduled(message).hopeless is None

    @pytest.mark.parametrize(
        ("message", "final"),
        [
            ("rpc error: code = NotFound desc = failed to pull: manifest unknown", True),
            ("pull access denied, repository does not exist", True),
            ("failed size or digest validation: unexpected commit digest", True),
            ("dial tcp 10.0.0.1:443: connect: connection refused", False),
            ("dial tcp: i/o timeout", False),
            (
                'failed to pull image "reg/digestive@sha256:0": failed to do request: Head "https://reg/v2": i/o timeout',
                False,
            ),
        ],
    )
    def test_an_image_that_will_not_come_and_a_registry_that_may(self, message: str, *, final: bool) -> None:
        verdict = judge(_pod(state={"waiting": {"reason": "ErrImagePull", "message": message}}))
        assert isinstance(verdict, Waiting)
        assert (verdict.hopeless, verdict.final) == (ErrorClass.IMAGE_UNAVAILABLE, final)
        assert verdict.reason == f"ErrImagePull: {message}"

    @pytest.mark.parametrize(
        ("reason", "error"),
        [
            ("InvalidImageName", ErrorClass.IMAGE_UNAVAILABLE),
            ("SignatureValidationFailed", ErrorClass.IMAGE_UNAVAILABLE),
            ("CreateContainerConfigError", ErrorClass.CANNOT_START),
            ("CreateContainerError", ErrorClass.CANNOT_START),
        ],
    )
    def test_what_waiting_does_not_mend(self, reason: str, error: ErrorClass) -> None:
        verdict = judge(_pod(state={"waiting": {"reason": reason}}))
        assert isinstance(verdict, Waiting)
        assert (verdict.hopeless, verdict.final) == (error, True)

    @pytest.mark.parametrize(
        ("reason", "message"),
        [
            ("CreateContainerError", "context deadline exceeded"),
            (
                "CreateContainerError",
                'failed to reserve container name "step_x_0": name "step_x_0" is reserved for "ab"',
            ),
            ("ImageInspectError", "rpc error: code = Unavailable desc = connection error: connection refused"),
            ("CreateContainerConfigError", 'failed to prepare subPath for volumeMount "site-0" of container "step"'),
        ],
    )
    def test_what_a_node_tries_again(self, reason: str, message: str) -> None:
        """Its container runtime starts anew, or a share does not answer for a moment."""
        verdict = judge(_pod(state={"waiting": {"reason": reason, "message": message}}))
        assert isinstance(verdict, Waiting)
        assert (verdict.final, verdict.scheduled) == (False, True)

    def test_a_pod_that_the_controller_cannot_make_is_said_without_its_changing_name(self) -> None:
        quota = 'Error creating: pods "step-1-ab" is forbidden: exceeded quota: full, requested: requests.cpu=100m'
        assert not_created(quota) == Waiting("the pod is forbidden: exceeded quota: full, requested: requests.cpu=100m")
        refused = 'Error creating: pods "step-1-cd" is forbidden: violates PodSecurity "restricted:latest"'
        assert not_created(refused).hopeless == ErrorClass.REFUSED
        denied = 'Error creating: admission webhook "policy.example" denied the request: no'
        assert not_created(denied).hopeless == ErrorClass.REFUSED

    @pytest.mark.parametrize(
        "message",
        [
            'Error creating: Internal error occurred: failed calling webhook "x": connection refused',
            'Error creating: pods "step-1-ab" is forbidden: status unknown for quota: full, resources: requests.cpu',
        ],
    )
    def test_what_refuses_for_a_moment_is_waited_for(self, message: str) -> None:
        assert not_created(message).hopeless is None


class TestOver:
    def test_a_program_that_runs_and_one_that_has_ended(self) -> None:
        running = judge(_pod(phase="Running", state={"running": {"startedAt": "2026-01-01T00:00:00Z"}}))
        assert isinstance(running, Running)
        # The container's end is there before the phase says so.
        ended = judge(_pod(phase="Running", state={"terminated": {"exitCode": 0, "reason": "Completed"}}))
        assert ended == Over(0)
        failed = judge(_pod(phase="Running", state={"terminated": {"exitCode": 7, "reason": "Error"}}))
        assert isinstance(failed, Over)
        assert (failed.exit_code, failed.error) == (7, None)

    @pytest.mark.parametrize(
        ("reason", "error"),
        [
            ("OOMKilled", ErrorClass.MEMORY),
            ("StartError", ErrorClass.CANNOT_START),
            ("ContainerCannotRun", ErrorClass.CANNOT_START),
            ("ContainerStatusUnknown", ErrorClass.NODE_LOST),
            ("Unknown", ErrorClass.NODE_LOST),
        ],
    )
    def test_ends_that_a_program_did_not_choose(self, reason: str, error: ErrorClass) -> None:
        over = judge(_pod(phase="Failed", state={"terminated": {"exitCode": 137, "reason": reason}}))
        assert isinstance(over, Over)
        assert (over.exit_code, over.error, over.reason) == (None, error, reason)

    @pytest.mark.parametrize(
        ("reason", "message", "error"),
        [
            ("Evicted", "The node was low on resource: memory.", ErrorClass.EVICTED),
            ("Evicted", 'Usage of EmptyDir volume "scratch" exceeds the limit "16Mi".', ErrorClass.DISK),
            (
                "Evicted",
                "Pod ephemeral local storage usage exceeds the total limit of containers 64Mi.",
                ErrorClass.DISK,
            ),
            ("Evicted", 'Container step exceeded its local ephemeral storage limit "64Mi". ', ErrorClass.DISK),
            ("TopologyAffinityError", "Resources cannot be allocated with Topology locality", ErrorClass.UNSCHEDULABLE),
            ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", ErrorClass.DEADLINE),
            ("NodeShutdown", "Pod was terminated in response to imminent node shutdown.", ErrorClass.NODE_LOST),
            ("UnexpectedAdmissionError", "Allocate failed: no devices", ErrorClass.UNSCHEDULABLE),
            ("OutOfnvidia.com/gpu", "Node didn't have enough resource", ErrorClass.UNSCHEDULABLE),
        ],
    )
    def test_reasons_of_a_pod(self, reason: str, message: str, error: ErrorClass) -> None:
        over = judge(_pod(phase="Failed", reason=reason, message=message))
        assert isinstance(over, Over)
        assert (over.exit_code, over.error, over.reason) == (None, error, f"{reason}: {message}")

    def test_a_program_that_ended_well_just_before_its_node_needed_the_place_has_ended_well(self) -> None:
        status = _condition("DisruptionTarget", "True", "EvictionByEvictionAPI")
        assert judge(_pod(phase="Running", deleted=True, state={"terminated": {"exitCode": 0}}, **status)) == Over(0)

    @pytest.mark.parametrize(
        ("reason", "error"),
        [
            ("EvictionByEvictionAPI", ErrorClass.EVICTED),
            ("PreemptionByScheduler", ErrorClass.EVICTED),
            ("TerminationByKubelet", ErrorClass.EVICTED),
            ("SomethingOfTomorrow", ErrorClass.EVICTED),
        ],
    )
    def test_a_disruption_counts_once_its_program_has_ended(self, reason: str, error: ErrorClass) -> None:
        status = _condition("DisruptionTarget", "True", reason)
        assert isinstance(judge(_pod(phase="Running", state={"running": {}}, **status)), Running)
        over = judge(_pod(phase="Failed", state={"terminated": {"exitCode": 143}}, **status))
        assert isinstance(over, Over)
        assert (over.exit_code, over.error) == (None, error)

    def test_a_full_scratch_volume_is_known_by_the_condition_alone(self) -> None:
        status = _condition(
            "DisruptionTarget", "True", "TerminationByKubelet", 'Usage of EmptyDir volume "scratch" exceeds'
        )
        over = judge(_pod(phase="Running", state={"terminated": {"exitCode": 137}}, **status))
        assert isinstance(over, Over)
        assert over.error == ErrorClass.DISK

    @pytest.mark.parametrize(("second", "counts"), [("00", True), ("01", False)])
    def test_what_ends_well_when_it_is_told_to_go_is_half_done(self, second: str, *, counts: bool) -> None:
        """A program that catches SIGTERM, and ends with 0 and half of its output."""
        ended = {"terminated": {"exitCode": 0, "finishedAt": f"2026-01-01T12:00:{second}Z"}}
        drained = _condition("DisruptionTarget", "True", "EvictionByEvictionAPI")
        drained["conditions"][0]["lastTransitionTime"] = "2026-01-01T12:00:00Z"
        by_drain = judge(_pod(phase="Running", state=ended, **drained))
        deleted = _pod(phase="Running", state=ended)
        deleted["metadata"] |= {"deletionTimestamp": "2026-01-01T12:00:30Z", "deletionGracePeriodSeconds": 30}
        by_hand = judge(deleted)
        assert isinstance(by_drain, Over)
        assert isinstance(by_hand, Over)
        expected = (None, None) if counts else (ErrorClass.EVICTED, ErrorClass.POD_DELETED)
        assert (by_drain.error, by_hand.error) == expected

    def test_a_container_that_somebody_put_beside_it_is_not_the_step(self) -> None:
        """The kubelet sorts them by name."""
        step = {"name": "step", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}
        proxy = {"name": "istio-proxy", "state": {"running": {}}}
        over = judge(_pod(phase="Running", containerStatuses=[proxy, step]))
        assert isinstance(over, Over)
        assert over.exit_code == 3
        still = {"name": "step", "state": {"running": {}}}
        done = {"name": "linkerd-proxy", "state": {"terminated": {"exitCode": 0}}}
        assert isinstance(judge(_pod(phase="Running", containerStatuses=[done, still])), Running)

    def test_a_time_that_stands_for_none_is_none(self) -> None:
        ended = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
        over = judge(_pod(phase="Failed", state={"terminated": ended}))
        assert isinstance(over, Over)
        assert over.started_at is None

    @pytest.mark.parametrize("reason", ["DeletionByTaintManager", "DeletionByPodGC"])
    def test_a_lost_node_reports_no_end_and_is_not_waited_for(self, reason: str) -> None:
        over = judge(_pod(phase="Running", state={"running": {}}, **_condition("DisruptionTarget", "True", reason)))
        assert isinstance(over, Over)
        assert over.error == ErrorClass.NODE_LOST

    def test_a_pod_that_is_gone(self) -> None:
        assert gone(None).error == gone(_pod(phase="Running", state={"running": {}})).error == ErrorClass.POD_DELETED
        assert gone(_pod(phase="Succeeded", state={"terminated": {"exitCode": 0}})) == Over(0)
        by_hand = judge(_pod(phase="Running", deleted=True, state={"terminated": {"exitCode": 137, "reason": "Error"}}))
        assert isinstance(by_hand, Over)
        assert by_hand.error == ErrorClass.POD_DELETED

    @pytest.mark.parametrize(
        ("reason", "error"),
        [("DeadlineExceeded", ErrorClass.DEADLINE), ("BackoffLimitExceeded", ErrorClass.POD_DELETED)],
    )
    def test_a_job_whose_pod_is_not_to_be_seen(self, reason: str, error: ErrorClass) -> None:
        over = job_over({"status": _condition("Failed", "True", reason)})
        assert over is not None
        assert over.error == error
        assert job_over({"status": {}}) is None

    @pytest.mark.parametrize("kind", ["SuccessCriteriaMet", "Complete"])
    def test_a_job_that_is_complete_had_a_pod_that_ended_well(self, kind: str) -> None:
        """The pod may be gone with its node."""
        assert job_over({"status": _condition(kind, "True", "CompletionsReached")}) == Over(0)
