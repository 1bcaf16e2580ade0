"""The site's network policies as the cluster enforces them, with controls that show that the network works."""

from collections.abc import Iterator, Mapping

import pytest

from tests.clusters import Namespace, kubectl, namespace
from tests.k8s.places import Address, cluster_addresses, listener, start_trying, tried

pytestmark = pytest.mark.kubernetes

NAME = {"app.kubernetes.io/name": "assay"}
COMPONENT = "app.kubernetes.io/component"
WHO: Mapping[str, Mapping[str, str]] = {
    "agent": {**NAME, COMPONENT: "agent"},
    "step": {**NAME, COMPONENT: "step"},
    "control": {**NAME, COMPONENT: "probe-control"},
    "flow": {COMPONENT: "flow", "app.kubernetes.io/part-of": "prefect"},
    "flow-worker": {**NAME, COMPONENT: "flow-worker"},
    "stranger": {},
}


@pytest.fixture(scope="module")
def outside(python_image: str) -> Iterator[tuple[Namespace, Address]]:
    """Another namespace, without policies, and a server in it."""
    with namespace("outside") as own:
        yield own, listener(own, python_image, "server", {})


@pytest.fixture(scope="module")
def pages(site: Namespace, python_image: str) -> Address:
    """The agent's, behind which its Prefect is."""
    return listener(site, python_image, "pages", WHO["agent"])


@pytest.fixture(scope="module")
def found(
    site: Namespace, outside: tuple[Namespace, Address], pages: Address, python_image: str
) -> dict[str, dict[str, bool]]:
    """Who reaches what."""
    other, server = outside
    service, behind = cluster_addresses()
    inside = listener(site, python_image, "neighbour", WHO["stranger"])
    node = (behind[0], 10250)
    addresses = {
        "service": service, "api": behind, "server": server, "neighbour": inside, "node": node, "pages": pages,
    }  # fmt: skip
    for name, labels in WHO.items():
        start_trying(site, python_image, f"try-{name}", labels, addresses)
    start_trying(other, python_image, "try-outside", {}, addresses)
    reached = {name: tried(site, f"try-{name}") for name in WHO}
    return {**reached, "outside": tried(other, "try-outside")}


class TestEgress:
    def test_without_policies_everything_answers(self, found: dict[str, dict[str, bool]]) -> None:
        # The control: what follows is refused by policies, not by a network that is broken.
        assert {name: found["outside"][name] for name in ("service", "api", "server", "node")} == {
            "service": True,
            "api": True,
            "server": True,
            "node": True,
        }

    def test_a_step_reaches_nothing(self, found: dict[str, dict[str, bool]]) -> None:
        assert not any(found["step"].values())

    def test_a_pod_of_no_kind_reaches_nothing(self, found: dict[str, dict[str, bool]]) -> None:
        assert not any(found["stranger"].values())

    @pytest.mark.parametrize("who", ["agent", "control"])
    def test_the_agent_and_its_control_reach_the_clusters_api_alone(
        self, found: dict[str, dict[str, bool]], who: str
    ) -> None:
        assert {name for name, reached in found[who].items() if reached} == {"service", "api"}

    @pytest.mark.parametrize("who", ["flow", "flow-worker"])
    def test_a_flow_and_its_worker_reach_the_agents_pages_besides(
        self, found: dict[str, dict[str, bool]], who: str
    ) -> None:
        assert {name for name, reached in found[who].items() if reached} == {"service", "api", "pages"}


class TestIngress:
    def test_nobody_from_elsewhere_reaches_a_pod_of_the_site(self, found: dict[str, dict[str, bool]]) -> None:
        assert found["outside"]["neighbour"] is False

    def test_pages_are_for_the_namespace_that_the_hospital_names(self, pages: Address, python_image: str) -> None:
        with namespace("people") as people:
            start_trying(people, python_image, "before", {}, {"pages": pages})
            assert tried(people, "before") == {"pages": False}
            kubectl("label", "namespace", people.name, "assay/pages=true")
            start_trying(people, python_image, "after", {}, {"pages": pages})
            assert tried(people, "after") == {"pages": True}
