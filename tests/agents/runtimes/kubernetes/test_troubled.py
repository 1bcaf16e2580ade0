"""A long step, and an API that cuts, refuses for a moment, is full, or asks for another token: the step goes on."""

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.errors import StepFailedError
from agents.home import SiteSettings, create_home
from agents.runtimes.protocol import CubeBundle, StepRequest
from agents.site import Site
from agents.steps import run_step
from api.schemas.border import ErrorClass
from cubes.contract import TaskName
from tests.agents.runtimes.kubernetes.places import Place
from tests.agents.runtimes.kubernetes.scene import Detour, Scene, scene_in, until
from tests.agents.runtimes.kubernetes.test_site import ISOLATED
from tests.clusters import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.kubernetes, pytest.mark.slow]
WAITS = "import os, sys, time\nwhile not os.path.exists('/in/data/go'): time.sleep(.05)\nsys.exit(3)"
RIGHTS = ("create,get,list,delete", "jobs.batch"), ("list,watch", "pods"), ("get", "pods/log"), ("list", "events")
_PLUGIN = """#!/bin/sh
echo asked >> {asked}
ends=$(date -u -d '+1 second' +%Y-%m-%dT%H:%M:%SZ)
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
printf ' "status": {{"token": "%s", "expirationTimestamp": "%s"}}}}' "$(cat {token})" "$ends"
"""


@pytest.fixture
async def scene(registry: Registry, python_image: str) -> AsyncIterator[Scene]:
    async with scene_in("troubled", registry, python_image) as found:
        yield found


@contextlib.asynccontextmanager
async def detour(scene: Scene) -> AsyncIterator[Detour]:
    """A way to the API that can be cut; it is mended."""
    way = Detour(scene.place.home)
    await way.mend()
    yield way
    await way.cut()


def _go(request: StepRequest) -> None:
    (request.volumes["data_path"] / "go").touch()


async def _ends_with_3(scene: Scene, act: Callable[[str], Awaitable[None]], **settings: Any) -> None:
    """A step in whose middle something is done ends with its own exit code, and had one pod."""
    request = scene.request(WAITS)

    async def meanwhile(pod: str) -> None:
        await act(pod)
        _go(request)

    told = await scene.play(request, meanwhile, **settings)
    assert (told.error, told.exit_code, told.pods) == (ErrorClass.EXIT_CODE, 3, 1), told.message


async def test_what_cuts_every_watch_does_not_make_the_cluster_unreachable(scene: Scene) -> None:
    """A load balancer with less patience than a quiet step has: lists are answered all the time."""
    async with detour(scene) as way:

        async def cut_again_and_again(_pod: str) -> None:
            for _ in range(8):
                await way.cut()
                await way.mend()
                await asyncio.sleep(0.7)

        await _ends_with_3(scene, cut_again_and_again, kubeconfig=way.kubeconfig, away_s=2)


async def _account(scene: Scene, name: str) -> str:
    """A service account with an agent's rights; its token."""
    own = scene.place.namespace.name
    await scene.kubectl("create", "serviceaccount", name)
    for number, (verbs, resource) in enumerate(RIGHTS):
        await scene.kubectl("create", "role", f"{name}-{number}", f"--verb={verbs}", f"--resource={resource}")
        words = (f"--role={name}-{number}", f"--serviceaccount={own}:{name}")
        await scene.kubectl("create", "rolebinding", f"{name}-{number}", *words)
    return (await scene.kubectl("create", "token", name)).strip()


def _as(way: Detour, user: dict[str, Any]) -> Path:
    """The kubeconfig of a way, for somebody else."""
    way.settings["users"] = [{"name": "test", "user": user}]
    way.settings["contexts"][0]["context"]["user"] = "test"
    way.kubeconfig.write_text(yaml.safe_dump(way.settings))
    return way.kubeconfig


async def test_a_server_that_refuses_for_a_moment_does_not_cost_the_step(scene: Scene) -> None:
    """One that has just started knows no rights yet."""
    token = await _account(scene, "agent")
    async with detour(scene) as way:
        kubeconfig = _as(way, {"token": token})

        async def forget_the_rights(_pod: str) -> None:
            binding = await scene.kubectl("get", "rolebinding", "agent-1", "-o", "json")
            await scene.kubectl("delete", "rolebinding", "agent-1")
            await way.cut()
            await way.mend()
            await asyncio.sleep(2)
            kept = json.loads(binding)
            kept["metadata"] = {"name": "agent-1"}
            await scene.kubectl("create", "-f", "-", stdin=json.dumps(kept))

        await _ends_with_3(scene, forget_the_rights, kubeconfig=kubeconfig)


async def test_a_token_that_runs_out_is_asked_for_again(scene: Scene) -> None:
    """Those of cloud plugins last minutes."""
    asked, token, plugin = (scene.place.home / name for name in ("asked", "token", "plugin"))
    token.write_text(await _account(scene, "plugged"))
    plugin.write_text(_PLUGIN.format(asked=asked, token=token))
    plugin.chmod(stat.S_IRWXU)
    version = "client.authentication.k8s.io/v1"
    async with detour(scene) as way:
        user = {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}}

        async def wait(_pod: str) -> None:
            before = len(asked.read_text().split())
            await asyncio.sleep(2.5)
            await way.cut()
            await way.mend()
            await until(lambda: _true(len(asked.read_text().split()) > before), "the plugin to be asked again")

        await _ends_with_3(scene, wait, kubeconfig=_as(way, user))


async def _true(found: object) -> object:
    return found


async def test_a_quota_of_jobs_that_is_full_is_waited_for(scene: Scene) -> None:
    await scene.kubectl("create", "quota", "full", "--hard=count/jobs.batch=0")
    step = asyncio.create_task(scene.play(scene.request("import sys; sys.exit(3)")))
    await asyncio.sleep(2)
    assert not step.done()
    await scene.kubectl("delete", "quota", "full")
    told = await step
    assert (told.exit_code, any("exceeded quota" in each for each in told.heard)) == (3, True)


async def test_what_nobody_could_see_is_taken_over_by_whoever_asks_again(scene: Scene) -> None:
    place: Place = scene.place
    async with detour(scene) as way:
        described = place.site_settings(kubeconfig=str(way.kubeconfig), away_s=1)
        settings = {"site": "north", "registry_url": "http://127.0.0.1:9", **described}
        site = Site(create_home(place.home / "home", SiteSettings.model_validate(settings), "assay_1_secret").path)
        site.home.probe_file.write_text(ISOLATED.model_dump_json())
        request = scene.request(WAITS)
        cube = CubeBundle(request.cube.contract, f"sha256:{'1' * 64}", request.cube.folder)
        data = {"data_path": request.volumes["data_path"]}

        async def pods() -> list[dict[str, Any]]:
            listed = await scene.cluster.get("v1/pods", labelSelector="assay/task=infer")
            return [pod for pod in listed["items"] if pod["status"]["phase"] == "Running"]

        step = asyncio.create_task(run_step(site, cube, TaskName.INFER, data, "m"))
        await until(pods, "the step to run")
        await way.cut()
        with pytest.raises(StepFailedError) as caught:
            await step
        assert caught.value.error_class == ErrorClass.CLUSTER_UNREACHABLE
        await way.mend()
        again = asyncio.create_task(run_step(site, cube, TaskName.INFER, data, "m"))
        await asyncio.sleep(1)
        _go(request)
        with pytest.raises(StepFailedError) as caught:
            await again
        assert (caught.value.error_class, caught.value.exit_code) == (ErrorClass.EXIT_CODE, 3)
        assert len(list(site.home.folder("logs").glob("*.log"))) == 1, "a second attempt was begun"
        site.close()
