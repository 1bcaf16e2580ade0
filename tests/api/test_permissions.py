"""The permission matrix, whole: what the document says is what people reviewed, and what the registry does."""

from collections.abc import Iterator

import pytest

from api.access.matrix import MATRIX, Role
from api.schemas.people import Scope
from tests.api import rights
from tests.api.campaign import MakeCampaign
from tests.api.rights import COLUMNS, Right
from tests.api.scene import Scene, set_up
from tests.api.world import Registry

REVIEWED = rights.read()
OPEN = ["GET /v1/health", "POST /v1/invitations/redeem"]
"""Who redeems an invitation is not yet signed in: its secret is the proof."""
HIDE = ("GET /v1/blobs/{digest}", "PUT /v1/benchmarks/{benchmark_id}", "POST /v1/benchmarks/{benchmark_id}/submit")
"""What somebody may not have there is not there for them: a file, a draft."""


@pytest.fixture(scope="module")
def scene(make_campaign: MakeCampaign) -> Iterator[Scene]:
    """One registry for all calls; none leaves a trace."""
    with make_campaign("running") as campaign:
        yield set_up(campaign)


class TestDocument:
    def test_every_right_is_the_reviewed_one(self, registry: Registry) -> None:
        found = rights.of_document(registry.http.get("/openapi.json").json())
        assert rights.written(found) == rights.FILE.read_text(encoding="utf-8")

    def test_every_route_is_in_the_matrix_and_the_other_way_round(self, registry: Registry) -> None:
        document = registry.http.get("/openapi.json").json()["paths"]
        routes = {(method.upper(), path) for path, operations in document.items() for method in operations}
        assert routes == set(MATRIX)

    def test_only_a_few_things_are_for_anyone(self) -> None:
        assert [right.route for right in REVIEWED if Role.ANYONE in right.allowed] == OPEN

    def test_everything_else_needs_a_scope(self) -> None:
        assert [right.route for right in REVIEWED if right.scope == "-"] == OPEN

    def test_people_decide_and_nobody_else(self) -> None:
        """Neither a machine's token nor an administrator's by itself decides anything."""
        (decide,) = [right for right in REVIEWED if right.path.endswith("/decisions") and right.method != "GET"]
        assert (decide.scope, set(decide.allowed)) == (Scope.DECIDE, {Role.APPROVER})

    def test_no_site_writes_what_is_not_on_the_list_of_payloads(self) -> None:
        ours = [r for r in REVIEWED if Role.SITE in r.allowed and Role.ANYONE not in r.allowed]
        writes = [r.route for r in ours if r.method != "GET"]
        assert writes == [
            "POST /v1/site/datasets",
            "POST /v1/site/execution-events",
            "POST /v1/site/heartbeats",
            "POST /v1/site/preparations",
            "POST /v1/site/results",
        ]


@pytest.mark.parametrize("right", REVIEWED, ids=lambda right: right.route)
class TestCall:
    """Every route as every party, with real tokens: a call succeeds, or is refused, as the reviewed table says."""

    def test_the_registry_does_what_the_table_says(self, scene: Scene, right: Right) -> None:
        found = {}
        for role in COLUMNS:
            with scene.without_trace():
                before = scene.entries()
                answer = scene.call(right.route, role)
                found[role] = answer.is_success
                if not answer.is_success:
                    assert answer.status_code in _refusals(right, role), (role, answer.text)
                    assert scene.entries() == before
        assert found == {role: role in right.allowed for role in COLUMNS}


@pytest.mark.parametrize("right", [right for right in REVIEWED if right.scope != "-"], ids=lambda right: right.route)
class TestCallWithLess:
    def test_a_token_without_the_scope_is_refused(self, scene: Scene, right: Right) -> None:
        role = next(role for role in COLUMNS if role in right.allowed)
        with scene.without_trace():
            answer = scene.call(right.route, role, scene.narrowed_token(right.route, role, Scope(right.scope)))
        assert answer.status_code == 403
        assert answer.json()["detail"] == f"this token is not good for {right.scope!r}."


def _refusals(right: Right, role: Role) -> set[int]:
    if role == Role.ANYONE:
        return {401}
    return {403, 404} if right.route in HIDE else {403}


class TestOwningSite:
    """A site's agent is an owner of what belongs to its datasets: it reads that, and writes nothing of it."""

    @pytest.mark.parametrize("what", ["associations", "executions", "results"])
    def test_reads_its_own(self, scene: Scene, what: str) -> None:
        subject = {"associations": "association:north", "executions": "execution", "results": "result"}[what]
        path = f"/v1/{what}/{scene.ids[subject]}"
        assert scene.campaign.registry.call("site:north", "GET", path).status_code == 200
        assert scene.campaign.registry.call("site:south", "GET", path).status_code == 403

    def test_withdraws_nothing(self, scene: Scene) -> None:
        path = f"/v1/associations/{scene.ids['association:north']}/withdraw"
        answer = scene.campaign.registry.call("site:north", "POST", path, json={"reason": "no"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "this token is not good for 'write'.")
