"""Whatever happens to a pod has a class of its own, with Kubernetes' own words, soon after it happened."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from agents.runtimes.protocol import RuntimeSetupError, StepOutcome, StepRequest
from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.places import Place
from tests.clusters import Registry, kubectl, wait_for

pytestmark = [pytest.mark.anyio, pytest.mark.kubernetes]
Run = Callable[..., Awaitable[StepOutcome]]
RequestFor = Callable[..., StepRequest]
SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


async def _running(place: Place, request: StepRequest, **changes: Any) -> tuple[asyncio.Task[StepOutcome], str]:
    """A step that runs, and its pod's name."""
    step = asyncio.create_task(place.runtime(**changes).run(request))
    pod = await asyncio.to_thread(wait_for, lambda: _pod_in(place, request, "Running"), "the step to run")
    return step, pod["metadata"]["name"]


def _pod_in(place: Place, request: StepRequest, phase: str) -> dict[str, Any] | None:
    pods = place.namespace.pods_of(place.job(request))
    return next((pod for pod in pods if pod["status"]["phase"] == phase), None)


def _ended(place: Place, request: StepRequest) -> bool:
    """No program of the step runs any more; what is left of its pod is being removed."""
    pods = place.namespace.pods_of(place.job(request))
    return all(pod["status"]["phase"] in {"Succeeded", "Failed"} for pod in pods)


@pytest.fixture
def node_with_a_gpu(place: Place) -> Iterator[str]:
    """A node advertises one GPU of a kind of its own: bookkeeping, as the scheduler sees it."""
    node = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
    kind = f"example.com/gpu-{place.namespace.name}"
    patch = ("patch", "node", node, "--subresource=status", "--type=json", "-p")
    path = f"/status/capacity/{kind.replace('/', '~1')}"
    kubectl(*patch, json.dumps([{"op": "add", "path": path, "value": "1"}]))
    # The node's agent makes capacity allocatable when it next reports.
    wait_for(
        lambda: kind in json.loads(kubectl("get", "node", node, "-o", "json"))["status"]["allocatable"],
        "the GPU to be allocatable",
    )
    yield kind
    kubectl(*patch, json.dumps([{"op": "remove", "path": path}]))


class TestImages:
    @pytest.mark.parametrize("name", ["nothing-of-this-name", "python"])
    async def test_an_image_that_does_not_exist(self, run: Run, registry: Registry, name: str) -> None:
        """No such repository, and no such digest in one that exists."""
        outcome = await run(image=f"{registry.host}/{name}@sha256:{'ab' * 32}")
        assert (outcome.error, outcome.exit_code) == (ErrorClass.IMAGE_UNAVAILABLE, None)
        assert "not found" in outcome.message

    async def test_a_registry_that_does_not_answer_gets_some_time(self, run: Run) -> None:
        started = time.monotonic()
        outcome = await run(image=f"127.0.0.1:9/python@sha256:{'ab' * 32}")
        assert outcome.error == ErrorClass.IMAGE_UNAVAILABLE
        assert "connection refused" in outcome.message
        assert time.monotonic() - started > 5

    async def test_an_image_without_the_program(self, run: Run, python_image: str) -> None:
        outcome = await run(image=python_image, run="{entrypoint: /no/such/program}")
        assert (outcome.error, outcome.exit_code) == (ErrorClass.CANNOT_START, None)
        assert "StartError" in outcome.message
        assert "/no/such/program" in outcome.message


class TestLimits:
    async def test_too_much_memory(self, run: Run) -> None:
        outcome = await run("held = []\nwhile True: held.append(bytearray(16 << 20))")
        assert outcome.error == ErrorClass.MEMORY, outcome.message
        assert "OOMKilled" in outcome.message

    async def test_a_deadline_is_kept_to_the_second_by_the_agent(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(STUBBORN, deadline_s=1)
        outcome = await place.runtime().run(request)
        assert outcome.error == ErrorClass.DEADLINE
        assert "ended at its deadline of 1 s" in outcome.message
        assert "here" in outcome.message
        assert _ended(place, request)

    async def test_a_deadline_is_kept_by_the_cluster_when_the_agent_is_away(
        self, place: Place, request_for: RequestFor
    ) -> None:
        request = request_for(SLEEP, deadline_s=2)
        runtime = place.runtime(pull_s=1)
        step = asyncio.create_task(runtime.run(request))
        await asyncio.to_thread(wait_for, lambda: _pod_in(place, request, "Running"), "the step to run")
        runtime.leave()
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        pod = await asyncio.to_thread(wait_for, lambda: _pod_in(place, request, "Failed"), "the cluster to end it")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        outcome = await place.runtime().run(request)
        assert outcome.error == ErrorClass.DEADLINE, outcome.message

    async def test_a_flooded_log_ends_the_step_and_fills_no_disk(self, place: Place, request_for: RequestFor) -> None:
        request = request_for("import os\nwhile True: os.write(1, b'x' * 4095 + b'\\n')")
        outcome = await place.runtime().run(request)
        assert outcome.error == ErrorClass.LOG_TOO_LARGE
        assert request.log.stat().st_size <= request.limits.log_bytes
        assert _ended(place, request)

    async def test_a_short_flood_is_noticed_too(self, run: Run) -> None:
        outcome = await run("import os\nfor _ in range(512): os.write(1, b'x' * 4095 + b'\\n')")
        assert outcome.error == ErrorClass.LOG_TOO_LARGE

    async def test_too_much_output(self, place: Place, request_for: RequestFor) -> None:
        program = "import time\nwith open('/out/predictions/x', 'wb') as file:\n    file.write(bytes(9 << 20))\n"
        request = request_for(f"{program}time.sleep(600)")
        outcome = await place.runtime().run(request)
        assert outcome.error == ErrorClass.OUTPUT_TOO_LARGE
        assert _ended(place, request)
        assert (await place.runtime().run(request_for(program))).error == ErrorClass.OUTPUT_TOO_LARGE

    @pytest.mark.slow
    async def test_too_much_scratch_space(self, place: Place, request_for: RequestFor) -> None:
        """The node looks at its disks once a minute; the class is there as soon as it has looked."""
        program = "import time\nwith open('/tmp/x', 'wb') as file:\n    file.write(bytes(40 << 20))\ntime.sleep(600)"
        outcome = await place.runtime(scratch_mib=16).run(request_for(program, deadline_s=240))
        assert (outcome.error, outcome.exit_code) == (ErrorClass.DISK, None)
        assert 'Evicted: Usage of EmptyDir volume "scratch" exceeds the limit "16Mi"' in outcome.message


class TestNoPlace:
    async def test_more_gpus_than_exist(self, place: Place, request_for: RequestFor) -> None:
        heard: list[str] = []
        request = request_for(resources="{cpu: 0.1, memory: 64Mi, gpu: 16}", tell=heard.append)
        outcome = await place.runtime(gpu_resource="example.com/gpu").run(request)
        assert (outcome.error, outcome.exit_code) == (ErrorClass.UNSCHEDULABLE, None)
        assert "Insufficient example.com/gpu" in outcome.message
        assert any("Insufficient example.com/gpu" in line for line in heard)

    async def test_a_node_that_is_busy_is_waited_for(self, place: Place, request_for: RequestFor) -> None:
        """The quota of the namespace is used up by another step; when that ends, this one runs."""
        place.namespace.kubectl("create", "quota", "one-step", "--hard=requests.cpu=300m")
        try:
            other, _ = await _running(place, request_for(SLEEP))
            heard: list[str] = []
            waits = asyncio.create_task(place.runtime().run(request_for("import sys; sys.exit(3)", tell=heard.append)))
            async with asyncio.timeout(60):
                while not any("exceeded quota" in line for line in heard):
                    assert not waits.done()
                    await asyncio.sleep(0.1)
            other.cancel()
            assert (await waits).exit_code == 3
        finally:
            place.namespace.kubectl("delete", "quota", "one-step")

    async def test_waiting_has_an_end(self, place: Place, request_for: RequestFor) -> None:
        place.namespace.kubectl("create", "quota", "no-step", "--hard=requests.cpu=1m")
        try:
            outcome = await place.runtime(pending_s=2).run(request_for(SLEEP))
            assert outcome.error == ErrorClass.UNSCHEDULABLE
            assert "exceeded quota" in outcome.message
        finally:
            place.namespace.kubectl("delete", "quota", "no-step")

    async def test_a_gpu_that_is_busy_is_waited_for(
        self, place: Place, request_for: RequestFor, node_with_a_gpu: str
    ) -> None:
        heard: list[str] = []
        one_gpu = "{cpu: 0.1, memory: 64Mi, gpu: 1}"
        first, _ = await _running(place, request_for(SLEEP, resources=one_gpu), gpu_resource=node_with_a_gpu)
        second = asyncio.create_task(
            place.runtime(gpu_resource=node_with_a_gpu).run(
                request_for("import sys; sys.exit(3)", resources=one_gpu, tell=heard.append)
            )
        )
        async with asyncio.timeout(60):
            while not any(f"Insufficient {node_with_a_gpu}" in line for line in heard):
                assert not second.done()
                await asyncio.sleep(0.1)
        await asyncio.sleep(place.settings.hopeless_s + 1)
        assert not second.done()
        first.cancel()
        assert (await second).exit_code == 3

    async def test_what_admission_refuses(self, place: Place, request_for: RequestFor) -> None:
        outcome = await place.runtime(priority_class="no-such-class").run(request_for())
        assert outcome.error == ErrorClass.REFUSED
        assert "no-such-class" in outcome.message

    async def test_a_node_selector_that_fits_nothing(self, place: Place, request_for: RequestFor) -> None:
        outcome = await place.runtime(node_selector={"gpu": "of-another-time"}).run(request_for())
        assert outcome.error == ErrorClass.UNSCHEDULABLE
        assert "node affinity/selector" in outcome.message


class TestTakenAway:
    async def test_a_pod_deleted_by_hand(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(STUBBORN)
        step, pod = await _running(place, request)
        place.namespace.kubectl("delete", "pod", pod, "--wait=false")
        outcome = await step
        assert (outcome.error, outcome.exit_code) == (ErrorClass.POD_DELETED, None)
        assert [each["metadata"]["name"] for each in place.namespace.pods_of(place.job(request))] in ([], [pod])

    async def test_a_job_deleted_by_hand(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(SLEEP)
        step, _ = await _running(place, request)
        place.namespace.kubectl("delete", "job", place.job(request), "--wait=false")
        assert (await step).error == ErrorClass.POD_DELETED

    async def test_a_node_that_is_drained(self, place: Place, request_for: RequestFor) -> None:
        """What `kubectl drain` does to each pod: an eviction by the API."""
        step, pod = await _running(place, request_for(SLEEP))
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": place.namespace.name},
        }
        address = f"/api/v1/namespaces/{place.namespace.name}/pods/{pod}/eviction"
        place.namespace.kubectl("create", "--raw", address, "-f", "-", stdin=json.dumps(eviction))
        outcome = await step
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EVICTED, None)
        assert "EvictionByEvictionAPI" in outcome.message


class TestCancel:
    async def test_cancelling_ends_the_pod(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(STUBBORN)
        step, _ = await _running(place, request)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        assert _ended(place, request)
        assert place.job(request) not in place.namespace.kubectl("get", "jobs", "-o", "name")

    async def test_cancelling_twice_still_ends_it(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(STUBBORN)
        step, _ = await _running(place, request)
        step.cancel()
        await asyncio.sleep(0.05)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        assert _ended(place, request)


class TestSetup:
    async def test_a_namespace_that_does_not_exist(self, place: Place, request_for: RequestFor) -> None:
        with pytest.raises(RuntimeSetupError, match="does not take a Job in namespace 'no-such-place'"):
            await place.runtime(namespace="no-such-place").run(request_for())

    async def test_a_claim_that_does_not_exist_leaves_the_pod_waiting(
        self, place: Place, request_for: RequestFor
    ) -> None:
        root = place.settings.volumes[0].path
        outcome = await place.runtime(volumes=[{"path": root, "claim": "no-such-claim"}], pending_s=3).run(
            request_for()
        )
        assert outcome.error == ErrorClass.UNSCHEDULABLE
        assert "no-such-claim" in outcome.message
