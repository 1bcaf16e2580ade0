"""What the layer in front of Prefect costs one request, for each way to sign in, at a site and at the registry.

Run it with `pytest -s -n 0 tests/bench/bench_layer.py`. Behind the layer stands an application that answers at once: what is
left is the layer's own work, sign-in, table of routes and narrowing.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import prefect.server.api.server  # noqa: F401 - the rule inside Prefect is put into a server that is there
import pytest

from agents.home import SiteSettings, create_home
from agents.store import Store
from agents.store.people import add_person
from agents.store.tables import Role
from api.bootstrap import initialise
from api.core.settings import RegistrySettings
from api.schemas.people import OrganizationCreate
from cli.processes.layers import registry_layer, site_layer
from flows.server.hosting import App, Layer
from flows.server.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # it measures
ROUNDS = 300
SERVICE = "service-token"


async def _at_once(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers without doing anything."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"[]"})


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_site(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", SiteSettings(site="north", registry_url="http://127.0.0.1:9"), "secret")
    store = Store(home.store_file)
    with store.write() as session:
        _, operator = add_person(session, email="o@x.example", name="O", role=Role.OPERATOR)
        person, viewer = add_person(session, email="v@x.example", name="V", role=Role.VIEWER, benchmarks=[1])
    store.close()
    layer = site_layer(str(home.path), SERVICE)
    ledger = Ledger(home.ledger_file)
    cookie = ledger.open_session(f"person:{person.id}", timedelta(hours=1))
    ledger.close()
    session_headers = {"Cookie": f"assay_north={cookie}", "Sec-Fetch-Site": "same-origin"}
    _report("site", layer, {"service": _bearer(SERVICE), "token": _bearer(operator), "viewer": _bearer(viewer)})
    _report("site", layer, {"session": session_headers})


def test_a_registry(tmp_path: Path) -> None:
    settings = RegistrySettings(data=tmp_path / "registry")
    organization = OrganizationCreate(name="host", title="Host")
    root = initialise(settings, organization=organization, email="root@host.example", name="Root")
    layer = registry_layer(str(settings.data), "", SERVICE)
    _report("registry", layer, {"service": _bearer(SERVICE), "token": _bearer(root)})


def _report(place: str, layer: Layer, ways: Mapping[str, dict[str, str]]) -> None:
    bare = asyncio.run(_times(_at_once, {}))
    for way, headers in ways.items():
        own = [measured - statistics.median(bare) for measured in asyncio.run(_times(layer(_at_once), headers))]
        p95 = statistics.quantiles(own, n=20)[-1]
        print(f"{place}, {way}: p50 {statistics.median(own) * 1000:.2f} ms, p95 {p95 * 1000:.2f} ms, n={ROUNDS}")


async def _times(app: App, headers: dict[str, str]) -> list[float]:
    transport = httpx2.ASGITransport(app=app)
    found = []
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = await client.post("/api/flow_runs/filter", json={"limit": 10})
            found.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
    return found
