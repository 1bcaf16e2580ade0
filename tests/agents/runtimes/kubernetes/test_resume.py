"""An agent is killed in the middle of each step: the next one takes the very pod over, whether it still runs or not."""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from agents.home import SiteSettings, create_home
from agents.site import Site
from cubes.contract import TaskName
from tests.agents.runtimes.kubernetes.scene import Scene, scene_in, until
from tests.agents.runtimes.kubernetes.shared import made_once
from tests.agents.runtimes.kubernetes.waiting_site import TASKS, run_all, word
from tests.clusters import Registry

ROOT: Final = Path(__file__).parents[4]
ENDS_ALONE: Final = frozenset({TaskName.SANITY_CHECK, TaskName.INFER})
"""Their steps come to their end while there is no agent."""
pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Story:
    before: dict[str, str]
    """Task to its pod, when the agent was killed."""
    after: dict[str, str]
    ended: dict[str, str]
    swept: int
    left: int
    swept_of_a_dead_agent: int


async def _pods(scene: Scene, phases: set[str]) -> dict[str, str]:
    listed = await scene.cluster.get("v1/pods", labelSelector="assay/site=north")
    pods = [pod for pod in listed["items"] if not pod["metadata"]["name"].startswith("probe-")]
    found = [pod for pod in pods if pod["status"]["phase"] in phases]
    assert len({pod["metadata"]["labels"]["assay/task"] for pod in found}) == len(found), "two pods for one step"
    return {pod["metadata"]["labels"]["assay/task"]: pod["metadata"]["uid"] for pod in found}


async def _killed(scene: Scene, folder: Path) -> dict[str, str]:
    """An agent that is killed once all its steps run."""
    command = [sys.executable, "-m", "tests.agents.runtimes.kubernetes.waiting_site", str(folder)]
    agent = await asyncio.create_subprocess_exec(*command, cwd=ROOT)

    async def all_run() -> dict[str, str] | None:
        assert agent.returncode is None, "the agent ended before it was killed"
        pods = await _pods(scene, {"Running"})
        return pods if len(pods) == len(TASKS) else None

    try:
        return dict(await until(all_run, "five steps to run"))
    finally:
        agent.kill()
        await agent.wait()


async def _story(registry: Registry, image: str) -> Story:
    async with scene_in("resume", registry, image) as scene:
        folder = scene.place.home
        settings = {"site": "north", "registry_url": "http://127.0.0.1:9", "slots": 8, **scene.place.site_settings()}
        site = Site(create_home(folder / "home", SiteSettings.model_validate(settings), "assay_1_secret").path)
        probe = await asyncio.to_thread(site.probe)
        assert probe.isolation == "isolated", probe.checks
        before = await _killed(scene, folder)
        for task in ENDS_ALONE:
            (word(folder, task) / "go").touch()

        async def two_ended() -> bool:
            return len(await _pods(scene, {"Succeeded"})) == len(ENDS_ALONE)

        await until(two_ended, "two steps to end alone")
        resumed = asyncio.create_task(run_all(site, folder))
        await asyncio.sleep(1)
        for task in TASKS:
            (word(folder, task) / "go").touch()
        ended = await resumed
        after = await _pods(scene, {"Running", "Succeeded", "Failed"})

        async def jobs_know() -> bool:
            jobs = await scene.cluster.get("batch/v1/jobs", labelSelector="assay/site=north")
            return all(job["status"].get("succeeded") for job in jobs["items"])

        await until(jobs_know, "the Jobs to be complete")
        swept = await site.sweep_steps(0.0)
        for task in TASKS:
            (word(folder, task) / "go").unlink()
        await _killed(scene, folder)
        of_a_dead_agent = await site.sweep_steps(-1.0)
        jobs = await scene.cluster.get("batch/v1/jobs", labelSelector="assay/site=north")
        left = [job for job in jobs["items"] if "deletionTimestamp" not in job["metadata"]]
        site.close()
        return Story(before, after, ended, swept, len(left), of_a_dead_agent)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory, registry: Registry, python_image: str) -> Story:
    found: dict[str, Any] = json.loads(
        made_once(tmp_path_factory, "resume", lambda: json.dumps(asdict(asyncio.run(_story(registry, python_image)))))
    )
    return Story(**found)


@pytest.mark.parametrize("task", TASKS)
def test_the_next_agent_takes_the_same_pod_over(story: Story, task: TaskName) -> None:
    assert story.ended[task.value] == ""
    assert story.after[task.value] == story.before[task.value]


def test_what_is_over_is_removed_and_counts_for_nothing(story: Story) -> None:
    assert story.swept == 0


def test_steps_that_nobody_takes_up_are_ended(story: Story) -> None:
    assert (story.swept_of_a_dead_agent, story.left) == (len(TASKS), 0)
