"""Whether the cluster answers, lets the agent do what it must and no more, and has the GPUs that the settings speak of."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from agents.doctor.findings import Finding, fail, ok, warn
from agents.doctor.steps import a_small_step, first_lines, seconds_of
from agents.errors import AgentError
from agents.runtimes.kubernetes.cluster import Cluster, ClusterError
from agents.runtimes.kubernetes.rights import NEEDED, OF_THE_OWNER, TOO_MUCH, Right
from agents.runtimes.kubernetes.runtime import KubernetesRuntime
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.protocol import RuntimeSetupError, StepRequest
from agents.site import Site
from api.schemas.border import ErrorClass

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_GPU_WAIT_S: Final = 20.0


def check_cluster(site: Site) -> Iterator[Finding]:
    """The API server, then the agent's rights there."""
    runtime = _runtime_of(site)
    try:
        version, missing, beyond = asyncio.run(_ask(runtime))
    except (RuntimeSetupError, ClusterError, OSError) as error:
        fix = (
            "see that the agent may reach the API server (network policy agent-reaches-the-cluster), or set KUBECONFIG"
        )
        yield fail("cluster", first_lines(str(error)), fix)
        return
    namespace = runtime.settings.namespace
    yield ok("cluster", f"Kubernetes {version} answers")
    if missing:
        listed = ", ".join(map(str, missing))
        yield fail(
            "rights", f"the agent may not, in namespace {namespace!r}: {listed}", "apply k8s/site/base/rights.yaml"
        )
    elif beyond:
        listed = ", ".join(map(str, beyond))
        yield warn(
            "rights",
            f"the agent may more than it needs in namespace {namespace!r}: {listed}",
            "let it run as the account of k8s/site/base/rights.yaml",
        )
    else:
        yield ok("rights", f"the agent may do in namespace {namespace!r} what it must")


def check_gpu(site: Site) -> Finding:
    """Run a step that asks for one GPU."""
    runtime = _runtime_of(site)
    resource = runtime.settings.gpu_resource
    # One that is less patient than the site's own, which waits for a GPU as long as somebody else computes.
    settings = runtime.settings.model_copy(update={"pending_s": _GPU_WAIT_S})
    impatient = KubernetesRuntime(site.home.path, site.settings.site, settings, site.environments)
    try:
        with a_small_step(site) as request:
            outcome = asyncio.run(impatient.run(_with_a_gpu(request)))
    except (RuntimeSetupError, AgentError, OSError) as error:
        return fail("gpu", first_lines(str(error)), "mend what is said")
    if outcome.ok:
        return ok("gpu", f"a step got one {resource}")
    said = first_lines(outcome.message)
    if outcome.error == ErrorClass.UNSCHEDULABLE and seconds_of(outcome) >= _GPU_WAIT_S:
        return warn("gpu", said, "all may be in use: look again later, or at the quota and the nodes")
    fix = f"see that nodes offer {resource!r} (device plugin), and several_nodes, node_selector and tolerations in site.toml"
    return fail("gpu", said, fix)


async def _ask(runtime: KubernetesRuntime) -> tuple[str, list[Right], list[Right]]:
    settings = runtime.settings
    async with runtime.connected() as cluster:
        version = str((await cluster.get("/version"))["gitVersion"])
        needed = await _allowed(cluster, settings, NEEDED)
        beyond = await _allowed(cluster, settings, TOO_MUCH)
        missing = [right for right in NEEDED if right not in needed]
        if settings.owner is not None and not await _is_allowed(cluster, settings, OF_THE_OWNER, settings.owner):
            missing.append(OF_THE_OWNER)
    return version, missing, beyond


async def _allowed(cluster: Cluster, settings: KubernetesSettings, asked: Iterable[Right]) -> list[Right]:
    return [right for right in asked if await _is_allowed(cluster, settings, right)]


async def _is_allowed(cluster: Cluster, settings: KubernetesSettings, right: Right, name: str = "") -> bool:
    review: dict[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": right.attributes(settings.namespace, name)},
    }
    return bool((await cluster.create(_REVIEWS, review))["status"]["allowed"])


def _with_a_gpu(request: StepRequest) -> StepRequest:
    contract = request.cube.contract
    task = contract.tasks[request.task]
    resources = task.resources.model_copy(update={"gpu": 1})
    tasks = {**contract.tasks, request.task: task.model_copy(update={"resources": resources})}
    return replace(request, cube=replace(request.cube, contract=contract.model_copy(update={"tasks": tasks})))


def _runtime_of(site: Site) -> KubernetesRuntime:
    runtime = site.runtime
    if not isinstance(runtime, KubernetesRuntime):
        raise TypeError(f"site {site.settings.site!r} has no cluster: its runtime is {runtime.name!r}")
    return runtime
