"""One step in the cluster, what is done to it meanwhile, and what the runtime said of it, how soon."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from agents.runtimes.kubernetes.cluster import Cluster
from agents.runtimes.kubernetes.runtime import KubernetesRuntime
from agents.runtimes.protocol import RuntimeSetupError, StepRequest
from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.places import Place, make_request, place_in
from tests.clusters import CLAIM, DENY, Registry, namespace

LONG_S: Final = 120.0
HAPPENED: Final = "open('/out/predictions/happened', 'w').close()\n"
"""The first line of a program that does something which the runtime is to notice: from then on it counts."""
SLEEP: Final = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN: Final = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
EXITS: Final = f"import sys\n{HAPPENED}sys.exit(3)"
Act = Callable[[str], Awaitable[float | None]]
"""Something that is done to a running step, told its pod; may give the moment from which to count."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the runtime said."""

    error: str | None
    exit_code: int | None
    message: str
    seconds: float
    """From what happened to the runtime's word."""
    nothing_runs: bool
    """No program of the step is left in the cluster."""
    pods: int
    heard: tuple[str, ...]


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first true answer of a condition."""
    end = time.monotonic() + LONG_S
    while not (found := await condition()):
        assert time.monotonic() < end, f"waited {LONG_S} s in vain for {what}"
        await asyncio.sleep(0.1)
    return found


class Scene:
    """A place, looked at by the cluster's own API.

    Args:
        place: where steps run.
        cluster: a connection to it, beside the runtimes' own.
        registry: where images of another kind are made.
        image: the Python image.
    """

    def __init__(self, place: Place, cluster: Cluster, registry: Registry, image: str) -> None:
        self.place, self.cluster, self.registry, self.image = place, cluster, registry, image

    def request(self, program: str = SLEEP, **options: Any) -> StepRequest:
        return make_request(self.place.home, program, **options)

    async def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return await asyncio.to_thread(self.place.namespace.kubectl, *words, stdin=stdin)

    async def pods(self, request: StepRequest) -> list[dict[str, Any]]:
        selector = f"batch.kubernetes.io/job-name={self.place.job(request)}"
        return list((await self.cluster.get("v1/pods", labelSelector=selector))["items"])

    async def running(self, request: StepRequest) -> dict[str, Any]:
        """The step's pod, once it runs."""

        async def found() -> dict[str, Any] | None:
            pods = await self.pods(request)
            return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

        pod: dict[str, Any] = await until(found, f"step {request.key!r} to run")
        return pod

    async def over(self, request: StepRequest) -> bool:
        """Whether no program of the step runs; what is left of its pod may be being removed."""
        return all(map(_is_over, await self.pods(request)))

    async def play(
        self, request: StepRequest, act: Act | None = None, *, runtime: KubernetesRuntime | None = None, **settings: Any
    ) -> Told:
        """Run a step to its end, do something to it once it runs, and give what was said and how soon."""
        heard: list[str] = []
        began = time.time()
        runs = runtime or self.place.runtime(**settings)
        step = asyncio.create_task(runs.run(replace(request, tell=heard.append, note=heard.append)))
        if act is not None:
            pod = await self.running(request)
            began = time.time()
            began = await act(pod["metadata"]["name"]) or began
        return await self.told(request, step, began, heard)

    async def told(
        self, request: StepRequest, step: "asyncio.Task[Any]", began: float, heard: list[str] | None = None
    ) -> Told:
        """What a step that runs comes to."""
        said: tuple[str | None, int | None, str]
        try:
            outcome = await step
            said = outcome.error, outcome.exit_code, outcome.message
        except RuntimeSetupError as error:
            said = ErrorClass.SITE_SETUP, None, str(error)
        except asyncio.CancelledError:
            said = ErrorClass.CANCELLED, None, ""
        now, happened = time.time(), request.volumes["output_path"] / "happened"
        since = happened.stat().st_mtime if happened.exists() else began
        return Told(
            *said,
            seconds=round(now - since, 2),
            nothing_runs=await self.over(request),
            pods=len(await self.pods(request)),
            heard=tuple(heard or ()),
        )

    @contextlib.asynccontextmanager
    async def elsewhere(self, security: str = "restricted") -> AsyncIterator["Scene"]:
        """A namespace for one incident alone."""
        async with scene_in("incident", self.registry, self.image, security=security) as scene:
            yield scene


@contextlib.asynccontextmanager
async def scene_in(
    purpose: str, registry: Registry, image: str, *, policy: str = DENY, security: str = "restricted"
) -> AsyncIterator[Scene]:
    """A namespace for as long as the block lasts, and a connection to it."""
    with contextlib.ExitStack() as stack:
        own = await asyncio.to_thread(stack.enter_context, namespace(purpose, security=security))
        await asyncio.to_thread(own.kubectl, "apply", "-f", "-", stdin=f"{policy}---{CLAIM}")
        place = await asyncio.to_thread(place_in, own, image)
        async with place.runtime().connected() as cluster:
            yield Scene(place, cluster, registry, image)


def _is_over(pod: dict[str, Any]) -> bool:
    """A container's end is there a second before its pod's phase."""
    states = [each["state"] for each in pod["status"].get("containerStatuses", ())]
    ended = bool(states) and all("terminated" in state for state in states)
    return ended or pod["status"]["phase"] in {"Succeeded", "Failed"}


class Detour:
    """A way to the cluster's API that can be cut, and mended.

    Args:
        folder: where its kubeconfig is written.
    """

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / f"detour-{id(self)}"
        self.settings = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        address = self.settings["clusters"][0]["cluster"]["server"].removeprefix("https://")
        self._host, _, self._port = address.partition(":")
        self._server: asyncio.Server | None = None
        self._own_port = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]
        self.settings["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._own_port}"
        self.kubeconfig.write_text(yaml.safe_dump(self.settings))

    async def cut(self) -> None:
        """Whoever is on the way falls off it; nobody gets on it."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port or 443))
        self._open |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
        self._open -= {writer, back}


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    with contextlib.suppress(OSError, RuntimeError):
        target.close()
