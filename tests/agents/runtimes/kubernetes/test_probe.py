"""The deny probe in a cluster: it believes no policy that it has not seen at work."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from agents.home import SiteSettings, create_home
from agents.site import Site
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome
from cubes.contract import TaskName
from tests.agents.runtimes.kubernetes.scene import Scene, scene_in
from tests.agents.runtimes.kubernetes.shared import made_once
from tests.agents.runtimes.kubernetes.waiting_site import run_task, word
from tests.clusters import DENY, Registry, kubectl

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]
CONTROL: Final = "control_cluster_api_is_reachable"
NETWORK: Final = {"no_network", "no_cluster_api", "no_cluster_names"}
FOR_OTHERS: Final = DENY.replace("component: step", "component: somebody-else")
"""Without enforcement a policy is an object that nobody reads; to a step, one for others is the same."""
FOR_ALL: Final = DENY.replace("{matchLabels: {app.kubernetes.io/component: step}}", "{}")
CLASS: Final = "isolated"
Places = dict[str, tuple[str, dict[str, Any]]]
PLACES: Final[Places] = {
    "enforced": (DENY, {}),
    "not enforced": (FOR_OTHERS, {}),
    "not enforced, isolating class": (FOR_OTHERS, {"runtime_class": CLASS}),
    "no class of that name": (FOR_OTHERS, {"runtime_class": "no-such-class"}),
    "nobody has a network": (FOR_ALL, {}),
}


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory, registry: Registry, python_image: str) -> dict[str, Any]:
    """What the probe finds in each place, and how a step of a site there ends."""

    async def probe(policy: str, settings: dict[str, Any]) -> dict[str, Any]:
        async with scene_in("probe", registry, python_image, policy=policy) as scene:
            site = _site(scene, **settings)
            found = await asyncio.to_thread(site.probe)
            word(scene.place.home, TaskName.INFER).mkdir(parents=True)
            (word(scene.place.home, TaskName.INFER) / "go").touch()
            _, ended = await run_task(site, scene.place.home, TaskName.INFER)
            jobs = (await scene.cluster.get("batch/v1/jobs", labelSelector="assay/task=infer"))["items"]
            started = [job for job in jobs if not job["metadata"]["name"].startswith("probe-")]
            site.close()
            return {"outcome": found.model_dump_json(), "ended": ended, "jobs": len(started)}

    async def all_places() -> str:
        found = await asyncio.gather(*(probe(*each) for each in PLACES.values()))
        return json.dumps(dict(zip(PLACES, found, strict=True)))

    found: dict[str, Any] = json.loads(made_once(tmp_path_factory, "probes", lambda: asyncio.run(all_places())))
    return found


@pytest.fixture
def found_in(probes: dict[str, Any]) -> Callable[[str], ProbeOutcome]:
    return lambda place: ProbeOutcome.model_validate_json(probes[place]["outcome"])


def _site(scene: Scene, **settings: Any) -> Site:
    described = {"site": "north", "registry_url": "http://127.0.0.1:9", **scene.place.site_settings(**settings)}
    home = create_home(scene.place.home / "home", SiteSettings.model_validate(described), "assay_1_secret")
    return Site(home.path)


def _failed(outcome: ProbeOutcome) -> set[str]:
    return {name for name, held in outcome.checks.items() if not held}


@pytest.fixture
def isolating_class() -> None:
    if CLASS not in kubectl("get", "runtimeclass", "-o", "name"):
        pytest.skip(f"the cluster has no RuntimeClass {CLASS!r}")


class TestEnforced:
    def test_every_check_holds_and_the_control_reached_what_the_probe_did_not(
        self, found_in: Callable[[str], ProbeOutcome], probes: dict[str, Any]
    ) -> None:
        outcome = found_in("enforced")
        assert _failed(outcome) == set()
        assert outcome.isolation == Isolation.ISOLATED
        assert outcome.runtime == "kubernetes"
        assert {CONTROL, "no_service_account_token", "no_foreign_files", "reads_its_input", *NETWORK} <= set(
            outcome.checks
        )
        assert (probes["enforced"]["ended"], probes["enforced"]["jobs"]) == ("", 1)


class TestNotEnforced:
    def test_the_network_is_there_and_the_probe_says_so(self, found_in: Callable[[str], ProbeOutcome]) -> None:
        outcome = found_in("not enforced")
        assert outcome.isolation == Isolation.NOT_ISOLATED
        assert {"no_cluster_api"} <= _failed(outcome) <= NETWORK
        assert outcome.checks[CONTROL]

    def test_no_step_is_started(self, probes: dict[str, Any]) -> None:
        assert probes["not enforced"]["ended"].startswith(ErrorClass.NOT_ISOLATED)
        assert "no_cluster_api" in probes["not enforced"]["ended"]
        assert probes["not enforced"]["jobs"] == 0

    @pytest.mark.usefixtures("isolating_class")
    def test_an_isolating_class_passes_the_same_probe(
        self, found_in: Callable[[str], ProbeOutcome], probes: dict[str, Any]
    ) -> None:
        outcome = found_in("not enforced, isolating class")
        assert _failed(outcome) == set()
        assert outcome.checks[CONTROL], "the control runs without the class, or a refusal would mean nothing"
        place = probes["not enforced, isolating class"]
        assert (place["ended"], place["jobs"]) == ("", 1)

    def test_a_class_that_does_not_exist_isolates_nothing(self, found_in: Callable[[str], ProbeOutcome]) -> None:
        outcome = found_in("no class of that name")
        assert outcome.isolation == Isolation.NOT_ISOLATED
        assert not outcome.checks["runs"]


class TestControl:
    def test_where_nobody_reaches_anything_a_refusal_means_nothing(
        self, found_in: Callable[[str], ProbeOutcome], probes: dict[str, Any]
    ) -> None:
        outcome = found_in("nobody has a network")
        assert _failed(outcome) == {CONTROL}
        assert outcome.isolation == Isolation.NOT_ISOLATED
        assert probes["nobody has a network"]["jobs"] == 0
