"""A site whose settings say `kubernetes`: real patients' data to an approved result, and as much at once as it has slots."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from agents.home import SiteSettings, create_home
from agents.runtimes.protocol import CubeBundle
from agents.site import Site
from agents.steps import run_step
from agents.store.executions import list_executions, scores_in
from agents.store.tables import JobState, ScoreState
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome
from api.storage.columns import now
from cubes.contract import TaskName, parse_contract
from tests.agents.runtimes.kubernetes.incidents import gpu_kind
from tests.agents.runtimes.kubernetes.places import CONTRACT, Place, place_in
from tests.agents.runtimes.kubernetes.scene import Scene, scene_in, until
from tests.agents.runtimes.kubernetes.waiting_site import TASKS, run_all, run_task, word
from tests.clusters import CLAIM, DENY, Registry, namespace
from tests.hospital import Hospital, hospital

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]
NO_PROBE: Final = ""
ISOLATED: Final = ProbeOutcome(
    runtime="kubernetes", isolation=Isolation.ISOLATED, checks={"runs": True}, probed_at=now()
)
PROGRAM: Final = """
import os, time
while not os.path.exists("/in/data/go"):
    time.sleep(0.05)
open("/out/predictions/x", "w").write("1")
"""
Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


@dataclass(frozen=True, slots=True)
class Ward:
    """A hospital whose steps run in a namespace of their own."""

    here: Hospital
    place: Place


@pytest.fixture
def ward(python_image: str) -> Iterator[Callable[..., Ward]]:
    """Make a hospital; the deny probe has been run in its cluster."""
    with pytest.MonkeyPatch.context() as patch, namespace("site") as own:
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        place = place_in(own, python_image)
        made: list[Any] = []

        def make(*, kubernetes: dict[str, Any] | None = None, **settings: Any) -> Ward:
            described = place.site_settings(**(kubernetes or {}))
            opened = hospital(place.home / "h", NO_PROBE, patch, **described, **settings)
            made.append(opened)
            here = opened.__enter__()
            assert here.site.probe().isolation == "isolated", here.site.last_probe().checks
            return Ward(here, place)

        yield make
        for opened in made:
            opened.__exit__(None, None, None)


class TestJob:
    def test_from_raw_data_to_a_result_that_says_where_it_was_made(self, ward: Callable[..., Ward]) -> None:
        here = ward().here
        models = here.model(), here.model("import sys; sys.exit('no weights')")
        here.offer(*models)
        assert here.prepare().state == JobState.DONE
        here.site.border.flush()
        here.offer(*models)
        assert here.evaluate(1, 2).outcome == {"ran": 2, "reused": 0, "withheld": 0, "failed": ["model-2"]}
        with here.site.store.read() as session:
            (score,) = scores_in(session, ScoreState.NEW)
            failed = [each for each in list_executions(session) if each.error_class is not None]
        assert [(each.model_name, each.error_class) for each in failed] == [("model-2", ErrorClass.EXIT_CODE)]
        assert "no weights" in failed[0].message
        assert 0.5 < score.metrics["auroc"] <= 1.0
        here.release(score.id or 0)
        here.site.border.flush()
        (result,) = [taken.document for taken in here.registry.taken if taken.kind == "result"]
        assert (result["probe"]["runtime"], result["probe"]["isolation"]) == ("kubernetes", "isolated")
        assert result["probe"]["checks"]["control_cluster_api_is_reachable"] is True
        assert "no weights" not in json.dumps([taken.document for taken in here.registry.taken])


@pytest.fixture(scope="module")
def scene(registry: Registry, python_image: str) -> Play:
    """Run something in a scene."""

    def play(story: Callable[[Scene], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with scene_in("slots", registry, python_image) as found:
                await story(found)

        asyncio.run(whole())

    return play


def _site(scene: Scene, **settings: Any) -> Site:
    described = {"site": "north", "registry_url": "http://127.0.0.1:9", **settings}
    home = create_home(scene.place.home / "home", SiteSettings.model_validate(described), "assay_1_secret")
    site = Site(home.path)
    site.home.probe_file.write_text(ISOLATED.model_dump_json())
    return site


def _model(scene: Scene, image: str, number: int) -> CubeBundle:
    run = json.dumps({"command": ["python3", "-c", PROGRAM]})
    kind = f"container_type: DockerImage\nimage: {image}"
    text = CONTRACT.format(kind=kind, run=run, resources="{cpu: 0.2, memory: 64Mi, gpu: 1}")
    return CubeBundle(parse_contract(text), f"sha256:{number:064}", scene.place.home)


async def _steps(scene: Scene) -> dict[str, list[str]]:
    """Task to the phases of its pods; what only pulls an image, or has no pod yet, is not there."""
    listed = await scene.cluster.get("v1/pods", labelSelector="assay/task in (infer,evaluate)")
    found: dict[str, list[str]] = {}
    for pod in listed["items"]:
        found.setdefault(pod["metadata"]["labels"]["assay/task"], []).append(pod["status"]["phase"])
    return found


class TestSlots:
    def test_evaluation_runs_beside_the_next_inference_while_the_one_after_is_pulled(self, scene: Play) -> None:
        async def story(here: Scene) -> None:
            async with gpu_kind() as kind:
                site = _site(here, slots=1, gpu_slots=1, **here.place.site_settings(gpu_resource=kind))
                images = [await asyncio.to_thread(here.registry.variant, here.image, Env=[f"N={n}"]) for n in (2, 3)]
                data = here.place.home / "data"
                data.mkdir(mode=0o755)
                steps: list[asyncio.Task[Any]] = [
                    asyncio.create_task(run_task(site, here.place.home, TaskName.EVALUATE))
                ]
                for number, image in enumerate(images, start=2):
                    model = _model(here, image, number)
                    inputs = {"data_path": data}
                    steps.append(asyncio.create_task(run_step(site, model, TaskName.INFER, inputs, f"model-{number}")))

                async def beside() -> bool:
                    return await _steps(here) == {"evaluate": ["Running"], "infer": ["Running"]}

                async def pulled() -> bool:
                    events = await here.cluster.get("v1/events", fieldSelector="reason=Pulled")
                    return any(images[1] in event["message"] for event in events["items"])

                await until(beside, "an evaluation and an inference to run side by side")
                await until(pulled, "the image of the next model to be there")
                assert await beside(), "the next model has begun before its turn"
                for folder in (data, word(here.place.home, TaskName.EVALUATE)):
                    (folder / "go").touch()
                await asyncio.gather(*steps)
                site.close()

        scene(story)

    def test_as_many_steps_at_once_as_there_are_slots(self, scene: Play) -> None:
        async def story(here: Scene) -> None:
            site = _site(here, slots=3, **here.place.site_settings())
            steps = asyncio.create_task(run_all(site, here.place.home))

            async def three() -> bool:
                return len((await here.cluster.get("batch/v1/jobs"))["items"]) >= 3

            await until(three, "three steps")
            for _ in range(10):
                assert len((await here.cluster.get("batch/v1/jobs"))["items"]) == 3
                await asyncio.sleep(0.1)
            for task in TASKS:
                (word(here.place.home, task) / "go").touch()
            assert set((await steps).values()) == {""}
            site.close()

        scene(story)
