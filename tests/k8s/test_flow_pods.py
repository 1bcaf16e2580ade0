"""Flows in pods of their own: Prefect's worker makes them, behind the site's sign-in, and what is killed goes on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clusters import wait_for
from tests.hospital import Hospital
from tests.k8s.flow_site import FLOWS, IN_PODS, LONG_S, STEP, FlowSite, flow_site, waiting_registry
from tests.k8s.images import build_worker

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with waiting_registry(tmp_path_factory.mktemp("registry")) as here:
        yield here


@pytest.fixture(scope="module")
def north(registry: Hospital, application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowSite]:
    worker = build_worker(tmp_path_factory.mktemp("worker"), application)
    with flow_site(tmp_path_factory.mktemp("overlay") / "site", registry, application, worker, IN_PODS) as site:
        yield site


@dataclass(frozen=True)
class Killed:
    """A preparation whose flow and worker were deleted in the middle of a step."""

    jobs: dict[str, Any]
    flow: dict[str, Any]
    step: dict[str, Any]


@pytest.fixture(scope="module")
def killed(north: FlowSite) -> Killed:
    north.prepare("d1")
    step = north.step()
    [flow] = north.running(FLOWS)
    jobs = north.own.get("jobs", "-l", "prefect.io/flow-run-id")
    north.own.kubectl("delete", "pod", flow["metadata"]["name"], "--wait=false")
    north.own.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=flow-worker", "--wait=false")
    wait_for(lambda: _others(north, flow), "the flow's next pod", LONG_S)
    north.let_go_on("d1")
    return Killed(jobs, flow, step)


def _others(north: FlowSite, flow: dict[str, Any]) -> list[dict[str, Any]]:
    return [pod for pod in north.running(FLOWS) if pod["metadata"]["uid"] != flow["metadata"]["uid"]]


class TestFlowPod:
    def test_is_made_as_the_least_that_a_flow_needs(self, killed: Killed) -> None:
        spec = killed.flow["spec"]
        assert spec["serviceAccountName"] == "assay-flow"
        assert killed.flow["metadata"]["labels"]["app.kubernetes.io/component"] == "flow"
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]

    def test_holds_the_worker_s_token_by_reference(self, killed: Killed) -> None:
        assert "Bearer" not in json.dumps(killed.jobs)
        assert "Bearer" not in json.dumps(killed.flow)


class TestKilled:
    def test_a_flow_goes_on_in_another_pod_and_takes_its_step_over(
        self, north: FlowSite, registry: Hospital, killed: Killed
    ) -> None:
        [gate] = wait_for(lambda: north.ask("gate", "list"), "the gate", LONG_S)
        steps = north.own.get("pods", "-l", STEP)["items"]
        assert [pod["metadata"]["uid"] for pod in steps] == [killed.step["metadata"]["uid"]]
        north.ask("gate", "approve", gate["id"], "--reason", "looked at it", "--yes")
        wait_for(lambda: _datasets(registry), "the dataset at the registry", LONG_S)
        wait_for(lambda: not north.running(FLOWS), "the flow to end", LONG_S)
        [job] = north.ask("job", "list")
        assert job["state"] == "done"


def _datasets(registry: Hospital) -> list[str]:
    return [taken.key for taken in registry.registry.taken if taken.kind == "dataset"]
