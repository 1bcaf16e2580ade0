"""From a step's creation to its exit code, against `kubectl wait` for the same bare Job, in the same run.

`python tests/bench/bench_kubernetes_step.py [ROUNDS]`, with KUBECONFIG and ASSAY_TEST_REGISTRY as for the tests. A round is
one Job each way, in turns, so that a busy machine is busy for both. The ratio is what counts: a container's end stands on its
pod a second before its Job says Complete.
"""

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog

from agents.runtimes.kubernetes.manifest import Around, step_job
from agents.runtimes.kubernetes.template import load_template
from agents.runtimes.lending import lend
from tests.agents.runtimes.kubernetes.places import SITE
from tests.agents.runtimes.kubernetes.scene import Scene, scene_in
from tests.clusters import image_registry

ROUNDS = 9
PROGRAM = "open('/out/predictions/x', 'w').write('1')"


def bare(scene: Scene, number: int) -> dict[str, Any]:
    """The very Job that the runtime would make, under a name of its own."""
    request, settings = scene.request(PROGRAM, key=f"bare-{number}-1"), scene.place.settings
    for path in (request.cube.folder, *request.volumes.values()):
        lend(path, settings.user, writable=True)
    around = Around(site=SITE, user=settings.user, group=settings.user)
    return step_job(load_template(None), request, settings, around)


async def by_kubectl(scene: Scene, number: int) -> float:
    """Created by the API, waited for by kubectl, which is started while the pod is being made: that costs it nothing."""
    job = bare(scene, number)
    start = time.perf_counter()
    await scene.cluster.create("batch/v1/jobs", job)
    await scene.kubectl("wait", "--for=condition=complete", f"job/{job['metadata']['name']}", "--timeout=120s")
    return time.perf_counter() - start


async def by_runtime(scene: Scene) -> float:
    runtime, request = scene.place.runtime(), scene.request(PROGRAM)
    start = time.perf_counter()
    outcome = await runtime.run(request)
    taken = time.perf_counter() - start
    assert outcome.ok, outcome.message
    return taken


async def main(rounds: int) -> None:
    registry = image_registry()
    waited, ran = list[float](), list[float]()
    async with scene_in("bench", registry, await asyncio.to_thread(registry.python)) as scene:
        await by_runtime(scene)  # the node has the image, this process its imports
        for number in range(rounds):
            if number % 2:
                ran.append(await by_runtime(scene))
            waited.append(await by_kubectl(scene, number))
            if number % 2 == 0:
                ran.append(await by_runtime(scene))
    floor = statistics.median(waited)
    print(f"{rounds} rounds                    median      min      max  x kubectl")
    for what, seconds in (("bare Job, kubectl wait", waited), ("step, its exit code", ran)):
        middle = statistics.median(seconds)
        print(f"{what:<28}{middle:>8.2f}{min(seconds):>9.2f}{max(seconds):>9.2f}{middle / floor:>11.2f}")
    pairs = statistics.median(one / other for one, other in zip(ran, waited, strict=True))
    print(f"median of the ratios of each round{pairs:>30.2f}")


if __name__ == "__main__":
    if "KUBECONFIG" not in os.environ or "ASSAY_TEST_REGISTRY" not in os.environ:
        print("skipped: set KUBECONFIG and ASSAY_TEST_REGISTRY (see k8s/README.md)")
        sys.exit(0)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
