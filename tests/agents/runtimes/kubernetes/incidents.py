"""Everything that may happen to a step in a cluster, each made to happen in a real one.

`test_incidents.py` holds what the runtime says of each; `tests/bench/bench_kubernetes_failures.py` prints how soon.
"""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import yaml

from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.scene import EXITS, HAPPENED, SLEEP, STUBBORN, Detour, Scene, Told, until
from tests.clusters import kubectl

Happen = Callable[[Scene], Awaitable[Told]]
SMALL: Final = "{cpu: 0.1, memory: 64Mi}"
FLOOD: Final = f"import os\n{HAPPENED}while True: os.write(1, b'x' * 4095 + b'\\n')"


@dataclass(frozen=True, slots=True)
class Incident:
    what: str
    error: ErrorClass
    """As which it is reported."""
    words: str
    """Part of what is said, most often the cluster's own words."""
    happen: Happen
    exit_code: int | None = None


INCIDENTS: dict[str, Incident] = {}


def incident(what: str, error: ErrorClass, words: str, *, exit_code: int | None = None) -> Callable[[Happen], Happen]:
    def add(happen: Happen) -> Happen:
        INCIDENTS[what] = Incident(what, error, words, happen, exit_code)
        return happen

    return add


async def play_all(scene: Scene, *, at_once: int) -> dict[str, Told | str]:
    """Let everything happen, so many at a time. Where one does not come to its end: why, in place of what was told."""
    turn = asyncio.Semaphore(at_once)

    async def one(each: Incident) -> Told | str:
        async with turn:
            try:
                return await each.happen(scene)
            except Exception as error:  # noqa: BLE001 - the test of this incident fails with it, the others are judged
                return f"{type(error).__name__}: {error}"

    told = await asyncio.gather(*map(one, INCIDENTS.values()))
    return dict(zip(INCIDENTS, told, strict=True))


# Images.


@incident("the image does not exist", ErrorClass.IMAGE_UNAVAILABLE, "not found")
async def _no_such_image(scene: Scene) -> Told:
    return await scene.play(scene.request(image=f"{scene.registry.host}/nothing-of-this-name@sha256:{'ab' * 32}"))


@incident("the registry has no image of that digest", ErrorClass.IMAGE_UNAVAILABLE, "not found")
async def _no_such_digest(scene: Scene) -> Told:
    return await scene.play(scene.request(image=f"{scene.registry.host}/python@sha256:{'ab' * 32}"))


@incident("the registry does not answer (given 5 s)", ErrorClass.IMAGE_UNAVAILABLE, "connection refused")
async def _no_registry(scene: Scene) -> Told:
    told = await scene.play(scene.request(image=f"127.0.0.1:9/python@sha256:{'ab' * 32}"), pull_retry_s=5)
    assert told.seconds > 5, "a registry that may come back gets its time"
    return told


@incident("the image names no program, and neither does the contract", ErrorClass.CANNOT_START, "no command specified")
async def _no_entrypoint(scene: Scene) -> Told:
    image = await asyncio.to_thread(scene.registry.variant, scene.image, Entrypoint=None, Cmd=None)
    return await scene.play(scene.request(image=image, run="{}"))


@incident("the image has no such program", ErrorClass.CANNOT_START, "StartError")
async def _no_program(scene: Scene) -> Told:
    return await scene.play(scene.request(image=scene.image, run="{entrypoint: /no/such/program}"))


@incident("a root image needs to be root", ErrorClass.EXIT_CODE, "Operation not permitted", exit_code=1)
async def _root_image(scene: Scene) -> Told:
    image = await asyncio.to_thread(scene.registry.variant, scene.image, User="0:0")
    program = f"import os\n{HAPPENED}os.setuid(0)"
    return await scene.play(scene.request(image=image, run=json.dumps({"command": ["python3", "-c", program]})))


# Limits.


@incident("its program ends with 3", ErrorClass.EXIT_CODE, "exited with 3", exit_code=3)
async def _exit_code(scene: Scene) -> Told:
    return await scene.play(scene.request(EXITS))


@incident("more memory than its limit", ErrorClass.MEMORY, "OOMKilled")
async def _memory(scene: Scene) -> Told:
    return await scene.play(scene.request(f"{HAPPENED}held = []\nwhile True: held.append(bytearray(16 << 20))"))


@incident("longer than its deadline of 1 s, ignoring SIGTERM", ErrorClass.DEADLINE, "its deadline of 1 s")
async def _deadline(scene: Scene) -> Told:
    return await scene.play(scene.request(STUBBORN, deadline_s=1))


@incident("longer than its deadline while the agent is away", ErrorClass.DEADLINE, "DeadlineExceeded")
async def _deadline_without_agent(scene: Scene) -> Told:
    """The deadline is brought forward once the agent is gone: a busy node may take long to start a pod."""
    request, runtime = scene.request(), scene.place.runtime()
    step = asyncio.create_task(runtime.run(request))
    pod = await scene.running(request)
    assert pod["spec"]["activeDeadlineSeconds"] == scene.place.settings.pull_s + request.limits.deadline_s
    runtime.leave()
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    await scene.kubectl("patch", "pod", pod["metadata"]["name"], "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    began = time.time()
    await until(lambda: scene.over(request), "the cluster to end the step")
    return await scene.told(request, asyncio.create_task(scene.place.runtime().run(request)), began)


@incident("prints without end", ErrorClass.LOG_TOO_LARGE, "more than 1 MiB to its log")
async def _flood(scene: Scene) -> Told:
    request = scene.request(FLOOD)
    told = await scene.play(request)
    assert request.log.stat().st_size <= request.limits.log_bytes
    return told


@incident("prints too much, and ends before anybody looks", ErrorClass.LOG_TOO_LARGE, "more than 1 MiB to its log")
async def _short_flood(scene: Scene) -> Told:
    program = f"import os\nfor _ in range(512): os.write(1, b'x' * 4095 + b'\\n')\n{HAPPENED}"
    return await scene.play(scene.request(program))


_LARGE: Final = f"{HAPPENED}with open('/out/predictions/x', 'wb') as file:\n    file.write(bytes(9 << 20))\n"


@incident("too much output", ErrorClass.OUTPUT_TOO_LARGE, "more than 8 MiB of output")
async def _output(scene: Scene) -> Told:
    return await scene.play(scene.request(f"{_LARGE}{SLEEP}"))


@incident("too much output, and ends before anybody looks", ErrorClass.OUTPUT_TOO_LARGE, "more than 8 MiB of output")
async def _quick_output(scene: Scene) -> Told:
    return await scene.play(scene.request(_LARGE))


@incident("more scratch space than its limit", ErrorClass.DISK, 'Evicted: Usage of EmptyDir volume "scratch" exceeds')
async def _scratch(scene: Scene) -> Told:
    program = f"{HAPPENED}with open('/tmp/x', 'wb') as file:\n    file.write(bytes(40 << 20))\n{SLEEP}"
    return await scene.play(scene.request(program, deadline_s=240), scratch_mib=16)


@incident("more of the node's disk than its limit", ErrorClass.DISK, "exceeds the total limit of containers")
async def _node_disk(scene: Scene) -> Told:
    program = f"{HAPPENED}with open('/tmp/x', 'wb') as file:\n    file.write(bytes(100 << 20))\n{SLEEP}"
    return await scene.play(scene.request(program, deadline_s=240), node_disk_mib=64)


# No place.


@incident("more GPUs than exist", ErrorClass.UNSCHEDULABLE, "Insufficient example.com/gpu")
async def _gpus(scene: Scene) -> Told:
    request = scene.request(resources="{cpu: 0.1, memory: 64Mi, gpu: 16}")
    told = await scene.play(request, gpu_resource="example.com/gpu")
    assert any("Insufficient example.com/gpu" in line for line in told.heard), "pending says why, while it is pending"
    return told


@incident("a node selector that fits no node", ErrorClass.UNSCHEDULABLE, "node affinity/selector")
async def _selector(scene: Scene) -> Told:
    return await scene.play(scene.request(), node_selector={"gpu": "of-another-time"})


@incident("a claim that does not exist (given 3 s)", ErrorClass.UNSCHEDULABLE, '"no-such-claim" not found')
async def _claim(scene: Scene) -> Told:
    root = scene.place.settings.volumes[0].path
    return await scene.play(scene.request(), volumes=[{"path": root, "claim": "no-such-claim"}], pending_s=3)


@incident("no place in time (given 2 s)", ErrorClass.UNSCHEDULABLE, "exceeded quota")
async def _quota(scene: Scene) -> Told:
    async with scene.elsewhere() as own:
        await own.kubectl("create", "quota", "no-step", "--hard=requests.cpu=1m")
        return await own.play(own.request(), pending_s=2)


@incident("a busy quota is waited for", ErrorClass.EXIT_CODE, "exited with 3", exit_code=3)
async def _busy_quota(scene: Scene) -> Told:
    async with scene.elsewhere() as own:
        await own.kubectl("create", "quota", "one-step", "--hard=requests.cpu=150m")
        return await _waits_for_another(own, SMALL, "exceeded quota")


@incident("a busy GPU is waited for", ErrorClass.EXIT_CODE, "exited with 3", exit_code=3)
async def _busy_gpu(scene: Scene) -> Told:
    async with gpu_kind() as kind:
        one = "{cpu: 0.1, memory: 64Mi, gpu: 1}"
        return await _waits_for_another(scene, one, f"Insufficient {kind}", gpu_resource=kind)


async def _waits_for_another(scene: Scene, resources: str, words: str, **settings: Any) -> Told:
    """Two steps where there is place for one: the second says why it waits, longer than for what is hopeless."""
    first, heard = scene.request(resources=resources), list[str]()
    busy = asyncio.create_task(scene.place.runtime(**settings).run(first))
    await scene.running(first)
    second = scene.request(EXITS, resources=resources, tell=heard.append)
    step = asyncio.create_task(scene.place.runtime(**settings).run(second))
    await until(lambda: _heard(heard, words), f"step 2 to say {words!r}")
    await asyncio.sleep(scene.place.settings.hopeless_s + 0.5)
    assert not step.done(), "the second step did not wait"
    busy.cancel()
    return await scene.told(second, step, time.time(), heard)


async def _heard(heard: list[str], words: str) -> bool:
    return any(words in line for line in heard)


@incident("admission refuses the pod", ErrorClass.REFUSED, "no-such-class")
async def _admission(scene: Scene) -> Told:
    return await scene.play(scene.request(), priority_class="no-such-class")


@incident("Pod Security refuses a path of the node", ErrorClass.REFUSED, 'violates PodSecurity "restricted')
async def _pod_security(scene: Scene) -> Told:
    root = scene.place.settings.volumes[0].path
    return await scene.play(scene.request(), volumes=[{"path": root, "host_path": root}], allow_host_path=True)


# Taken away.


@incident("the pod is deleted by hand", ErrorClass.POD_DELETED, "the pod was deleted")
async def _pod_deleted(scene: Scene) -> Told:
    async def delete(pod: str) -> None:
        await scene.cluster.delete(f"v1/pods/{pod}")

    return await scene.play(scene.request(STUBBORN), delete)


@incident("the Job is deleted by hand", ErrorClass.POD_DELETED, "the pod was deleted")
async def _job_deleted(scene: Scene) -> Told:
    request = scene.request()

    async def delete(_pod: str) -> None:
        await scene.cluster.delete(f"batch/v1/jobs/{scene.place.job(request)}")

    return await scene.play(request, delete)


@incident("the pod is evicted", ErrorClass.EVICTED, "EvictionByEvictionAPI")
async def _evicted(scene: Scene) -> Told:
    async def evict(pod: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        await scene.cluster.create(f"v1/pods/{pod}/eviction", body)

    return await scene.play(scene.request(), evict)


@incident("the node is drained", ErrorClass.EVICTED, "EvictionByEvictionAPI")
async def _drained(scene: Scene) -> Told:
    request = scene.request()

    async def drain(pod: str) -> None:
        node = (await scene.cluster.get(f"v1/pods/{pod}"))["spec"]["nodeName"]
        only = f"--pod-selector=batch.kubernetes.io/job-name={scene.place.job(request)}"
        try:
            await scene.kubectl("drain", node, only, "--force", "--delete-emptydir-data", "--disable-eviction=false")
        finally:
            await scene.kubectl("uncordon", node)

    return await scene.play(request, drain)


@incident("a more important pod takes its place", ErrorClass.EVICTED, "PreemptionByScheduler")
async def _preempted(scene: Scene) -> Told:
    name = f"assay-test-{uuid4().hex[:6]}"
    await scene.kubectl("create", "priorityclass", name, "--value=1000", "--description=of a test")
    try:
        async with gpu_kind() as kind:
            one = "{cpu: 0.1, memory: 64Mi, gpu: 1}"
            important: list[asyncio.Task[Any]] = []

            async def preempt(_pod: str) -> None:
                runtime = scene.place.runtime(gpu_resource=kind, priority_class=name)
                important.append(asyncio.create_task(runtime.run(scene.request(EXITS, resources=one))))

            told = await scene.play(scene.request(resources=one), preempt, gpu_resource=kind)
            assert (await important[0]).exit_code == 3
            return told
    finally:
        await scene.kubectl("delete", "priorityclass", name)


@incident("the node is cordoned, then lost", ErrorClass.NODE_LOST, "DeletionByTaintManager")
async def _node_lost(everywhere: Scene) -> Told:
    """A node without anybody behind it. Its pod's status is written by the test, as its kubelet would have."""
    async with everywhere.elsewhere(security="privileged") as scene, _ghost_node() as node:
        root = scene.place.settings.volumes[0].path
        settings: dict[str, Any] = {
            # A claim here belongs to the one real node.
            "volumes": [{"path": root, "host_path": root}],
            "allow_host_path": True,
            "node_selector": {"assay-test/ghost": node},
            "tolerations": [
                {"key": key, "operator": "Exists", "effect": "NoSchedule"}
                for key in ("assay-test/ghost", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ],
        }
        request, heard = scene.request(), list[str]()
        request = dataclasses.replace(request, note=heard.append)
        step = asyncio.create_task(scene.place.runtime(**settings).run(request))
        await until(lambda: _heard(heard, "were unschedulable"), "the scheduler to name the cordoned node")
        await asyncio.sleep(scene.place.settings.hopeless_s + 0.5)
        assert not step.done(), "a node that is cordoned comes back: it was not waited for"
        await scene.kubectl("uncordon", node)

        async def placed() -> str | None:
            return next((pod["metadata"]["name"] for pod in await scene.pods(request) if "nodeName" in pod["spec"]), "")

        pod = await until(placed, "the pod to be scheduled")
        state = {"name": "step", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": True,
                 "restartCount": 0, "image": scene.image, "imageID": ""}  # fmt: skip
        patch = {"status": {"phase": "Running", "containerStatuses": [state]}}
        await scene.kubectl("patch", "pod", pod, "--subresource=status", "-p", json.dumps(patch))
        await scene.kubectl("taint", "node", node, "assay-test/lost=now:NoExecute")
        told = await scene.told(request, step, time.time(), heard)
        await scene.kubectl("delete", "pod", pod, "--force", "--grace-period=0", "--ignore-not-found")
        return dataclasses.replace(told, nothing_runs=await scene.over(request))


# The cluster itself.


@incident("the API is away in the middle, and back", ErrorClass.EXIT_CODE, "exited with 3", exit_code=3)
async def _away_and_back(scene: Scene) -> Told:
    """The step ends while nobody can see it; counted from when the API is back."""
    detour = Detour(scene.place.home)
    await detour.mend()
    request = scene.request(
        "import os, sys, time\nwhile not os.path.exists('/in/data/go'): time.sleep(.05)\nsys.exit(3)"
    )

    async def away(_pod: str) -> float:
        await detour.cut()
        (request.volumes["data_path"] / "go").touch()
        await until(lambda: scene.over(request), "the step to end unseen")
        await detour.mend()
        return time.time()

    told = await scene.play(request, away, kubeconfig=detour.kubeconfig)
    await detour.cut()
    return told


@incident("the API stays away (given 2 s)", ErrorClass.CLUSTER_UNREACHABLE, "ClientConnectorError")
async def _away(scene: Scene) -> Told:
    """Its pod goes on, and whoever asks for the same attempt later takes it over."""
    detour = Detour(scene.place.home)
    await detour.mend()
    request = scene.request(
        "import os, sys, time\nwhile not os.path.exists('/in/data/go'): time.sleep(.05)\nsys.exit(3)"
    )

    async def away(_pod: str) -> None:
        await detour.cut()

    told = await scene.play(request, away, kubeconfig=detour.kubeconfig, away_s=2)
    assert not told.nothing_runs, "the step was ended although nobody could know how it stands"
    (request.volumes["data_path"] / "go").touch()
    later = await scene.play(request)
    assert (later.exit_code, later.pods) == (3, 1)
    return dataclasses.replace(told, nothing_runs=later.nothing_runs)


@incident("the namespace does not exist", ErrorClass.SITE_SETUP, "does not take a Job in namespace 'no-such-place'")
async def _no_namespace(scene: Scene) -> Told:
    return await scene.play(scene.request(), namespace="no-such-place")


@incident("a service account without rights", ErrorClass.SITE_SETUP, "cannot create resource")
async def _no_rights(scene: Scene) -> Told:
    return await scene.play(scene.request(), kubeconfig=await _kubeconfig_of(scene, "nobody", ""))


@incident("a service account that may not see its pods", ErrorClass.SITE_SETUP, "may not look at its pods")
async def _blind(scene: Scene) -> Told:
    verbs = "create,get,list,delete"
    request = scene.request()
    told = await scene.play(request, kubeconfig=await _kubeconfig_of(scene, "blind", verbs))
    await until(lambda: scene.over(request), "the pod that nobody may see to be ended")
    return dataclasses.replace(told, nothing_runs=await scene.over(request))


# By ourselves.


@incident("cancelled, ignoring SIGTERM", ErrorClass.CANCELLED, "")
async def _cancelled(scene: Scene) -> Told:
    return await _cancel(scene, 1)


@incident("cancelled twice", ErrorClass.CANCELLED, "")
async def _cancelled_twice(scene: Scene) -> Told:
    return await _cancel(scene, 2)


async def _cancel(scene: Scene, times: int) -> Told:
    request = scene.request(STUBBORN)
    step = asyncio.create_task(scene.place.runtime().run(request))
    await scene.running(request)
    began = time.time()
    for _ in range(times):
        step.cancel()
        await asyncio.sleep(0.05)
    return await scene.told(request, step, began)


async def _kubeconfig_of(scene: Scene, name: str, verbs: str) -> str:
    """A kubeconfig with the token of a new service account that may do these things with Jobs."""
    await scene.kubectl("create", "serviceaccount", name)
    if verbs:
        await scene.kubectl("create", "role", name, f"--verb={verbs}", "--resource=jobs.batch")
        account = f"--serviceaccount={scene.place.namespace.name}:{name}"
        await scene.kubectl("create", "rolebinding", name, f"--role={name}", account)
    token = (await scene.kubectl("create", "token", name)).strip()
    detour = Detour(scene.place.home)
    found = detour.settings
    found["users"] = [{"name": "test", "user": {"token": token}}]
    found["contexts"][0]["context"]["user"] = "test"
    detour.kubeconfig.write_text(yaml.safe_dump(found))
    return str(detour.kubeconfig)


@contextlib.asynccontextmanager
async def gpu_kind() -> AsyncIterator[str]:
    """A node advertises one GPU of a kind of its own: bookkeeping, as the scheduler sees it."""
    nodes = json.loads(await asyncio.to_thread(kubectl, "get", "nodes", "-o", "json"))["items"]
    node = next(each["metadata"]["name"] for each in nodes if _takes_steps(each))
    kind = f"example.com/gpu-{uuid4().hex[:8]}"
    patch = ("patch", "node", node, "--subresource=status", "--type=json", "-p")
    places = [f"/status/{what}/{kind.replace('/', '~1')}" for what in ("capacity", "allocatable")]
    await asyncio.to_thread(kubectl, *patch, json.dumps([{"op": "add", "path": each, "value": "1"} for each in places]))
    try:
        yield kind
    finally:
        remove = [{"op": "remove", "path": places[0]}]
        await asyncio.to_thread(kubectl, *patch, json.dumps(remove), check=False)


def _takes_steps(node: dict[str, Any]) -> bool:
    """Whether a node has no taint but that of being cordoned, which another incident may do for a moment."""
    return {taint["key"] for taint in node["spec"].get("taints", ())} <= {"node.kubernetes.io/unschedulable"}


@contextlib.asynccontextmanager
async def _ghost_node() -> AsyncIterator[str]:
    """A cordoned node of that name and nothing else: nobody's pods but the incident's tolerate it."""
    name = f"ghost-{uuid4().hex[:6]}"
    sizes = {"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "50Gi"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"assay-test/ghost": name}},
        "spec": {"unschedulable": True, "taints": [{"key": "assay-test/ghost", "effect": "NoSchedule"}]},
        "status": {"capacity": sizes, "allocatable": sizes, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    await asyncio.to_thread(kubectl, "create", "-f", "-", stdin=json.dumps(node))
    try:
        yield name
    finally:
        await asyncio.to_thread(kubectl, "delete", "node", name, "--wait=false")
