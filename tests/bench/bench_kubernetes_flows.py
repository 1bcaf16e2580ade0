"""Flows in the agent against flows in pods of their own: how soon they begin, and what an agent that is killed costs them.

`python tests/bench/bench_kubernetes_flows.py [ROUNDS]`, with KUBECONFIG, DOCKER_HOST and ASSAY_TEST_REGISTRY as for the tests.
Both are the same site, applied from k8s/ one after the other, each with its agent, its sign-in and its Prefect server in the
cluster. It counts from the flow run that the agent asked for to its first line, by Prefect's own clock; and from a step's end to
the creation of the next, with the agent killed at that moment and without. k8s/README.md says what follows from it.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.clusters import wait_for
from tests.hospital import Hospital
from tests.k8s.flow_site import IN_PODS, IN_THE_AGENT, LONG_S, STEP, FlowSite, flow_site, waiting_registry
from tests.k8s.images import build_application, build_worker

ROUNDS: Final = 5
NAMES: Final = {IN_THE_AGENT: "in the agent", IN_PODS: "in pods of their own"}
_RUNS: Final = """
import httpx2, json, os
headers = {"Authorization": "Bearer " + os.environ["ASSAY_SITE_TOKEN"]}
asked = {"sort": "START_TIME_ASC", "flow_runs": {"start_time": {"is_null_": False}}}
with httpx2.Client(base_url="http://127.0.0.1:8430/api", headers=headers, trust_env=False, timeout=60) as client:
    print(json.dumps(client.post("/flow_runs/filter", json=asked).json()))
"""


@dataclass
class Figures:
    begun: list[float] = field(default_factory=list)
    """Seconds from a flow run's creation to its first line."""
    undisturbed: float = 0.0
    """Seconds from a step's end to the next step."""
    killed: float = 0.0
    """The same where the agent is killed at that moment."""
    steps: int = 0
    """Pods of the step that was under way when it was killed: more than one has begun again."""


def began(site: FlowSite) -> list[float]:
    """Of every flow run that has started: how long it took to."""
    words = ("exec", f"deploy/{site.agent.name}", "-c", "agent", "--", "env", *site.owner, "python", "-c", _RUNS)
    runs: list[dict[str, Any]] = json.loads(site.own.kubectl(*words).splitlines()[-1])
    return [_moment(run["start_time"]) - _moment(run["created"]) for run in runs]


def measure(site: FlowSite, rounds: int) -> Figures:
    figures = Figures()
    for number in range(rounds):
        site.prepare(f"round-{number}")
        site.let_go_on(f"round-{number}")
        wait_for(partial(_are, number + 1, lambda: began(site)), "the flow to begin", LONG_S)
        wait_for(partial(_are, number + 1, lambda: site.ask("gate", "list")), "its gate", LONG_S)
    figures.begun = began(site)
    figures.undisturbed, _ = _next_step(site, "undisturbed", lambda: None)
    pod = ("delete", "pod", site.agent.pod()["metadata"]["name"], "--grace-period=0", "--force")
    figures.killed, figures.steps = _next_step(site, "killed", lambda: site.own.kubectl(*pod))
    return figures


def _are(count: int, ask: Callable[[], Sized]) -> bool:
    return len(ask()) == count


def _next_step(site: FlowSite, name: str, happen: Callable[[], object]) -> tuple[float, int]:
    """Something happens while a step runs, which ends then: seconds to the next step, and pods that the first had."""
    site.prepare(name)
    wait_for(lambda: [pod for pod in site.running(STEP) if _is_of(pod, name)], "the step to run", LONG_S)
    start = time.time()
    happen()
    site.let_go_on(name)
    check = wait_for(lambda: _of_dataset(site, "sanity_check", name), "the next step", LONG_S)
    return _moment(check[0]["metadata"]["creationTimestamp"]) - start, len(_of_dataset(site, "prepare", name))


def _of_dataset(site: FlowSite, task: str, name: str) -> list[dict[str, Any]]:
    pods = site.own.get("pods", "-l", f"assay/task={task}")["items"]
    return [pod for pod in pods if _is_of(pod, name)]


def _is_of(pod: dict[str, Any], name: str) -> bool:
    return str(pod["metadata"]["name"]).startswith(f"{name}-")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def both(rounds: int, folder: Path, registry: Hospital) -> dict[str, Figures]:
    application = build_application()
    (folder / "worker").mkdir()
    worker = build_worker(folder / "worker", application)
    found = {}
    for deployment in (IN_THE_AGENT, IN_PODS):
        with flow_site(folder / deployment, registry, application, worker, deployment) as site:
            found[deployment] = measure(site, rounds)
    return found


def main(rounds: int) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, waiting_registry(Path(scratch) / "registry") as registry:
        found = both(rounds, Path(scratch), registry)
    print(f"{rounds} rounds, {time.perf_counter() - start:.0f} s in all")
    print(f"{'flows run':<24}{'begun after (median)':>21}{'max':>7}", end="")
    print(f"{'next step after':>17}{'agent killed':>14}{'pods of its step':>18}")
    for deployment, each in found.items():
        print(f"{NAMES[deployment]:<24}{statistics.median(each.begun):>19.1f} s{max(each.begun):>6.1f}", end="")
        print(f"{each.undisturbed:>15.1f} s{each.killed:>12.1f} s{each.steps:>18}")


if __name__ == "__main__":
    if not {"KUBECONFIG", "ASSAY_TEST_REGISTRY", "DOCKER_HOST"} <= set(os.environ):
        print("skipped: set KUBECONFIG, DOCKER_HOST and ASSAY_TEST_REGISTRY (see k8s/README.md)")
        sys.exit(0)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
