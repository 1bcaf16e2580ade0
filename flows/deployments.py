"""Deployments: how a flow is asked for by name.

They have no work pool, so that no worker can pick up a run by mistake: only the runner that registered them does.
`prefect.yaml` deploys the same flows to work pools, under other names.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient

AnyFlow = Flow[Any, Any]

SITE = "site"
REGISTRY = "registry"


def site_flows() -> list[AnyFlow]:
    """The flows of a site; asked for as `prepare/site`, `evaluate/site`, `release/site`, `compatibility/site`."""
    from flows.compatibility import compatibility_flow  # noqa: PLC0415 - a registry has no need of a site's modules
    from flows.evaluate import evaluate_flow  # noqa: PLC0415
    from flows.prepare import prepare_flow  # noqa: PLC0415
    from flows.release import release_flow  # noqa: PLC0415

    return [prepare_flow, evaluate_flow, release_flow, compatibility_flow]


def registry_flows() -> list[AnyFlow]:
    """The registry's flows; asked for as `review/registry`."""
    from flows.review import review_flow  # noqa: PLC0415 - a site has no need of it

    return [review_flow]


async def register(client: PrefectClient, flows: Iterable[AnyFlow], name: str) -> dict[UUID, AnyFlow]:
    """Make sure that the server knows a deployment `<flow>/<name>` of each flow.

    Returns:
        Deployment identifier to flow.
    """
    registered = {}
    for flow in flows:
        flow_id = await client.create_flow(flow)
        deployment = await client.create_deployment(flow_id, name, description=flow.description, tags=[name])
        registered[deployment] = flow
    return registered
