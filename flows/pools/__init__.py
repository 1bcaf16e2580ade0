"""Work pools: the same flows in pods or processes of their own, for a site whose settings name a deployment of that kind.

Behind the sign-in layer nobody deploys anything but the agent: at its start it makes the pool, and offers its flows there, under
the names that `prefect.yaml` gives them. A worker then needs a token of the pool, and no more.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.callables import parameter_schema

from agents.errors import HomeError
from agents.home import SiteSettings
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.site import HOME_VARIABLE
from flows.deployments import AnyFlow
from flows.settings import ENVIRONMENT

KUBERNETES: Final = "kubernetes"
POOLS: Final = {"process": "assay-process", KUBERNETES: "assay-kubernetes"}
"""Name of the deployments, and Prefect's kind of worker, to the work pool."""
_KEPT: Final = frozenset({"tmp", "authorities"})
TEMPLATE: Final = Path(__file__).parent / "kubernetes.json"


@dataclass(frozen=True, slots=True)
class Pool:
    """One work pool: what its worker makes of a flow run."""

    kind: str
    template: dict[str, Any] = field(default_factory=dict)
    """Prefect's base job template; empty for what the worker brings along."""

    @property
    def name(self) -> str:
        return POOLS[self.kind]


def pool_of(settings: SiteSettings, home: Path) -> Pool | None:
    """The pool that a site's settings ask for; None where the agent runs its flows itself, or somebody else deployed them.

    Raises:
        HomeError: flows are to run in pods, and nothing is said of a cluster.
    """
    kind = settings.prefect_deployment
    if kind not in POOLS:
        return None
    if kind != KUBERNETES:
        return Pool(kind)
    if settings.kubernetes is None:
        raise HomeError('prefect_deployment = "kubernetes" needs a [kubernetes] table: namespace, image, volumes')
    return Pool(kind, pod_template(settings.kubernetes, home))


def pod_template(settings: KubernetesSettings, home: Path) -> dict[str, Any]:
    """`kubernetes.json`, filled in for a site: its namespace, its image, its volumes where the agent has them.

    Args:
        settings: the site's.
        home: its folder, as the agent and therefore its flows see it.
    """
    template: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    variables = template["variables"]["properties"]
    # Whose certificates the agent trusts, its flows trust: k8s/site/components/own-authorities.
    trusted = {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ}
    named = {**ENVIRONMENT, **trusted, HOME_VARIABLE: str(home)}
    fixed = [{"name": name, "value": value} for name, value in named.items()]
    given = [each for each in variables["env"]["default"] if each["name"] != HOME_VARIABLE]
    defaults: dict[str, Any] = {
        "namespace": settings.namespace,
        "image": settings.flow_image or settings.image,
        "env": fixed + given,
        "image_pull_secrets": [{"name": name} for name in settings.pull_secrets],
    }
    for name, value in defaults.items():
        variables[name]["default"] = value
    template["variables"]["required"] = []
    for claim in ("site_claim", "data_claim"):
        del variables[claim]
    _mount(template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"], settings)
    return template


def _mount(pod: dict[str, Any], settings: KubernetesSettings) -> None:
    """The agent's claims at the agent's paths, in place of the usual two."""
    mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] in _KEPT]
    volumes = [each for each in pod["volumes"] if each["name"] in _KEPT]
    for number, volume in enumerate(settings.volumes):
        name = f"volume-{number}"
        source = (
            {"persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only}}
            if volume.claim is not None
            else {"hostPath": {"path": str(volume.host_path)}}
        )
        sub_path = {"subPath": volume.sub_path} if volume.sub_path else {}
        mounts.append({"name": name, "mountPath": str(volume.path), "readOnly": volume.read_only, **sub_path})
        volumes.append({"name": name, **source})
    pod["containers"][0]["volumeMounts"], pod["volumes"] = mounts, volumes


async def offer(client: PrefectClient, flows: list[AnyFlow], pool: Pool) -> None:
    """Make the pool, or bring it to this version, and deployments of the flows on it."""
    wanted = WorkPoolCreate(name=pool.name, type=pool.kind, base_job_template=pool.template)
    await client.create_work_pool(wanted, overwrite=True)
    for flow in flows:
        await client.create_deployment(
            await client.create_flow(flow),
            pool.kind,
            description=flow.description,
            tags=[pool.kind],
            work_pool_name=pool.name,
            entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )
