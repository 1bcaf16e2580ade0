"""What may happen to a step in a cluster, as what it is reported, and how many seconds after it happened.

`python tests/bench/bench_kubernetes_failures.py [AT_ONCE]`, with KUBECONFIG and ASSAY_TEST_REGISTRY as for the tests. Where
nothing happens to a running step (no image, no place), it counts from when the step was asked for.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog

from tests.agents.runtimes.kubernetes.incidents import INCIDENTS, play_all
from tests.agents.runtimes.kubernetes.scene import scene_in
from tests.clusters import image_registry


async def main(at_once: int) -> None:
    registry = image_registry()
    async with scene_in("failures", registry, await asyncio.to_thread(registry.python)) as scene:
        told = await play_all(scene, at_once=at_once)
    print(f"{'what happens':<64}{'class reported':<24}{'seconds':>8}")
    for name, found in told.items():
        if isinstance(found, str):
            sys.exit(f"{name}: {found}")
        wrong = "" if found.error == INCIDENTS[name].error else "   <- not as it should be"
        print(f"{name:<64}{found.error or '-':<24}{found.seconds:>8.1f}{wrong}")


if __name__ == "__main__":
    if "KUBECONFIG" not in os.environ or "ASSAY_TEST_REGISTRY" not in os.environ:
        print("skipped: set KUBECONFIG and ASSAY_TEST_REGISTRY (see k8s/README.md)")
        sys.exit(0)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2))
