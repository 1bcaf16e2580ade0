"""A site in the cluster whose flows run in its agent or in pods of their own, and a registry on this host that offers it work.

The benchmark's preparator is the reference one, which waits for a word: so long, pods can be killed in the middle of it.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from cubes.packing import pack_folder
from tests.clusters import Namespace, kubectl, namespace, wait_for
from tests.hospital import FNA, Hospital, hospital, write_raw
from tests.k8s.deployed import SMALL, Deployed, site_toml
from tests.k8s.places import REGISTRY, fill_in, open_to_the_cluster, replace
from tests.small_registry import TOKEN

LONG_S: Final = 400.0
IN_PODS: Final = "kubernetes"
IN_THE_AGENT: Final = "site"
FLOWS: Final = "app.kubernetes.io/component=flow"
STEP: Final = "assay/task=prepare"

_WORD: Final = "go"
_WAITS: Final = f"""
import os, time
while not os.path.exists("/mlcommons/volumes/raw_data/{_WORD}"):
    time.sleep(0.1)
import """


@contextmanager
def waiting_registry(folder: Path) -> Iterator[Hospital]:
    """A registry on this host that pods reach at their node's address; its benchmark's preparations wait for a word."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, hospital(folder / "helper", "", patch) as here:
        here.registry.stop()
        here.registry.host = "0.0.0.0"  # noqa: S104 - the node's own address is the one that pods reach
        here.registry.start()
        slow = folder / "slow"
        shutil.copytree(FNA / "preparator", slow, ignore=shutil.ignore_patterns("__pycache__"))
        program = slow / "prepare.py"
        program.write_text(program.read_text(encoding="utf-8").replace("import ", _WAITS, 1), encoding="utf-8")
        pack_folder(slow, folder / "slow.tar")
        benchmark, digest = here.offer(), here.registry.add_blob(folder / "slow.tar")
        preparator = benchmark.preparator.model_copy(update={"pack_digest": digest})
        offered = benchmark.model_copy(update={"preparator": preparator})
        here.registry.work = here.registry.work.model_copy(update={"benchmarks": [offered]})
        yield here


@dataclass(frozen=True)
class FlowSite:
    """A running site, and its data owner."""

    agent: Deployed
    owner: tuple[str, ...]
    """What makes a command in the agent's pod theirs."""

    @property
    def own(self) -> Namespace:
        return self.agent.own

    def prepare(self, name: str) -> None:
        """Prepare raw data that nobody else has: what is known by its content is not prepared again."""
        raw = write_raw(self._raw(name))
        (raw / "data" / "export.txt").write_text(name, encoding="utf-8")
        folders = ("--data", f"/data/{name}/data", "--labels", f"/data/{name}/labels")
        self.ask("dataset", "prepare", name, "--benchmark", "breast-fna", *folders)

    def let_go_on(self, name: str) -> None:
        """Give the word that a preparation waits for."""
        (self._raw(name) / "data" / _WORD).touch()

    def _raw(self, name: str) -> Path:
        return self.own.claim_folder("assay-data") / name

    def ask(self, *words: str) -> Any:
        return self.agent.assay(*words, environment=self.owner)

    def running(self, selector: str) -> list[dict[str, Any]]:
        pods = self.own.get("pods", "-l", selector)["items"]
        alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in alive if pod["status"]["phase"] == "Running"]

    def step(self) -> dict[str, Any]:
        """The preparation's step, once it runs."""
        [found] = wait_for(lambda: self.running(STEP), "the step to run", LONG_S)
        return dict(found)


@contextmanager
def flow_site(folder: Path, registry: Hospital, application: str, worker: str, deployment: str) -> Iterator[FlowSite]:
    """A site, applied and ready.

    Args:
        folder: to be made, for what is applied.
        registry: what it belongs to.
        application: image by digest.
        worker: image of Prefect's worker by digest.
        deployment: IN_PODS or IN_THE_AGENT.
    """
    with namespace("flows") as own:
        address, port = _node(), int(registry.registry.url.rpartition(":")[2])
        out = {"to": [{"ipBlock": {"cidr": f"{address}/32"}}], "ports": [{"protocol": "TCP", "port": port}]}
        opened = {f"NetworkPolicy/{REGISTRY}": [replace("/spec/egress/0", out)]}
        settings = site_toml(own, f"http://{address}:{port}", application)
        fill_in(
            folder,
            "site/overlays/embedded",
            own,
            image=application,
            worker_image=worker,
            site_toml=f'prefect_deployment = "{deployment}"\n{settings}',
            patches={**SMALL, **open_to_the_cluster(), **opened},
            components=["site/components/flow-pods"],
        )
        own.kubectl("create", "secret", "generic", "assay-secrets", f"--from-literal=registry.token={TOKEN}")
        own.kubectl("apply", "-k", str(folder))
        agent = Deployed(own, "assay-agent", "agent")
        agent.wait_until_ready()
        token = agent.assay("agent", "worker-token", "assay-kubernetes")["token"]
        headers = json.dumps({"Authorization": f"Bearer {token}"})
        own.kubectl("create", "secret", "generic", "assay-worker", f"--from-literal=headers={headers}")
        if deployment == IN_PODS:
            own.kubectl("rollout", "status", "deployment/assay-flow-worker", f"--timeout={LONG_S:.0f}s")
        words = ("agent", "people", "add", "ada@north.example", "--name", "Ada", "--role", "data_owner")
        yield FlowSite(agent, (f"ASSAY_SITE_TOKEN={agent.assay(*words)['token']}",))


def _node() -> str:
    node = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]
    [found] = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
    return str(found)
