"""What comes in: strict in its shape, limited in its size, and refused with what to do about it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.core.limits import UPLOADS
from cubes.digests import digest_bytes
from tests.api import rights
from tests.api.campaign import HEARTBEAT, METRICS, Campaign, MakeCampaign
from tests.api.rights import Right
from tests.api.world import Registry

LISTS = (
    "organizations",
    "users",
    "tokens",
    "sites",
    "cubes",
    "models",
    "benchmarks",
    "associations",
    "gates",
    "preparations",
    "datasets",
    "executions",
    "results",
    "audit",
)


@pytest.fixture(scope="module")
def campaign(make_campaign: MakeCampaign) -> Iterator[Campaign]:
    """One for all of these tests: what they send is refused, and changes nothing."""
    with make_campaign("running") as campaign:
        yield campaign


@pytest.fixture(scope="module")
def registry(campaign: Campaign) -> Registry:
    return campaign.registry


def _post(registry: Registry, path: str, content: bytes, party: str = "administrator", **headers: str) -> Any:
    sent = {"Content-Type": "application/json", **headers}
    return registry.call(party, "POST", path, content=content, headers=sent)


class TestShape:
    @pytest.mark.parametrize(
        ("content", "where"),
        [
            (b"", "body"),
            (b"null", "body"),
            (b"[]", "body"),
            (b"7", "body"),
            (b"{", "body.1"),
            (b"{}", "body.name"),
            (b'{"name": null, "title": "x"}', "body.name"),
            (b'{"name": 7, "title": "x"}', "body.name"),
            (b'{"name": ["ok"], "title": "x"}', "body.name"),
            (b'{"name": "ok", "title": "x", "colour": "red"}', "body.colour"),
            (b"\xff\xfe{}", "body"),
        ],
    )
    def test_what_does_not_fit_is_named(self, registry: Registry, content: bytes, where: str) -> None:
        answer = _post(registry, "/v1/organizations", content)
        assert answer.status_code in {400, 422}, answer.text
        problem = answer.json()
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (problem["type"], problem["status"]) in {
            ("urn:assay:problem:unprocessable-entity", 422),
            ("urn:assay:problem:unprocessable-content", 422),
            ("urn:assay:problem:bad-request", 400),
        }
        if problem["status"] == 422:
            assert problem["errors"][0]["where"].startswith(where)
            assert problem["fix"] == "Correct what is named and send it again."

    def test_an_unknown_key_is_refused_at_any_depth(self, campaign: Campaign) -> None:
        body = campaign.specification(name="other").model_dump(mode="json")
        body["model_policy"]["colour"] = "red"
        answer = campaign.registry.call("benchmark_owner", "POST", "/v1/benchmarks", json=body)
        assert answer.json()["errors"][0]["where"] == "body.model_policy.colour"

    def test_a_number_is_no_text_and_a_text_no_number(self, registry: Registry) -> None:
        for wrong in ('"1"x', "[1]", "{}", "1.5", "true7"):
            content = b'{"email": "a@b.example", "name": "x", "organization_id": %s}' % wrong.encode()
            assert _post(registry, "/v1/users", content).status_code == 422

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
    def test_what_is_not_a_number_is_no_json(self, campaign: Campaign, number: str) -> None:
        """Metrics that are not defined travel by name; the words that JSON does not know are refused everywhere."""
        body = json.dumps(campaign.result("north", "alpha").model_dump(mode="json")).replace(
            '"auroc": 0.9', f'"auroc": {number}'
        )
        assert number in body
        answer = campaign.registry.call(
            "site:north",
            "POST",
            "/v1/site/results",
            content=body.encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": "number-01"},
        )
        assert answer.status_code == 422
        assert campaign.client("benchmark_owner").results.list().total == 0

    @pytest.mark.parametrize("number", ["NaN", "Infinity"])
    def test_neither_as_a_cubes_parameter(self, campaign: Campaign, number: str) -> None:
        digest = campaign.cube("alpha-cube").pack_digest
        content = json.dumps({"name": "odd", "kind": "model", "pack_digest": digest, "parameters": {"depth": 1}})
        answer = _post(campaign.registry, "/v1/cubes", content.replace(": 1}", f": {number}}}").encode(), "model_owner")
        assert answer.status_code == 422

    @pytest.mark.parametrize("number", ["NaN", "Infinity"])
    def test_neither_in_statistics_that_say_so(self, campaign: Campaign, number: str) -> None:
        body = campaign.registration("odd").model_dump(mode="json")
        body["statistics"] = {"mean": 1}
        content = json.dumps(body).replace('"mean": 1', f'"mean": {number}').encode()
        answer = _post(
            campaign.registry, "/v1/site/datasets", content, "site:north", **{"Idempotency-Key": "statistics-1"}
        )
        assert answer.status_code == 422

    def test_deep_nesting_is_refused_and_nothing_falls_over(self, campaign: Campaign) -> None:
        body = campaign.registration("deep").model_dump(mode="json")
        body["statistics"] = {"deep": 0}
        content = json.dumps(body).replace('"deep": 0', '"deep": ' + "[" * 20_000 + "]" * 20_000).encode()
        answer = _post(
            campaign.registry, "/v1/site/datasets", content, "site:north", **{"Idempotency-Key": "deep-0001"}
        )
        assert answer.status_code in {400, 413, 422}

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
    def test_text_that_no_database_keeps_is_refused(self, campaign: Campaign, text: str) -> None:
        body = json.dumps({**campaign.specification(name="odd").model_dump(mode="json"), "documentation": text})
        answer = _post(campaign.registry, "/v1/benchmarks", body.encode(), "benchmark_owner")
        assert answer.status_code in {400, 422}, answer.text

    @pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, 10**30, "x", "1.5", "%00", "1/2"])
    def test_a_number_in_a_path_that_no_key_can_be(self, registry: Registry, number: Any) -> None:
        for what in ("users", "cubes", "benchmarks", "gates", "results"):
            assert registry.call("administrator", "GET", f"/v1/{what}/{number}").status_code in {403, 404, 422}


def _take_a_body() -> list[Right]:
    return [
        right
        for right in rights.read()
        if right.method in {"POST", "PUT", "PATCH"} and right.path != f"{UPLOADS}{{digest}}"
    ]


class TestSize:
    @pytest.mark.parametrize("right", _take_a_body(), ids=lambda right: right.route)
    @pytest.mark.parametrize("known", [True, False], ids=["with its length", "in pieces"])
    def test_no_route_reads_on(self, registry: Registry, right: Right, *, known: bool) -> None:
        """Whoever sends it: somebody signed in, or nobody."""
        whole, read = registry.settings.max_body_bytes * 2, 0

        def pieces() -> Iterator[bytes]:
            nonlocal read
            while read < whole:
                read += 65_536
                yield b" " * 65_536

        path = re.sub(r"{\w+}", "1", right.path)
        headers = {"Idempotency-Key": "too-large-1", **({"Content-Length": str(whole)} if known else {})}
        for party in ("administrator", "site:north", "anyone"):
            read = 0
            answer = registry.call(party, right.method, path, content=pieces(), headers=headers)
            assert answer.status_code in ({413} if known else {401, 403, 404, 413})
            assert answer.json()["fix"]

    def test_a_body_above_the_limit_is_413(self, registry: Registry) -> None:
        answer = _post(registry, "/v1/organizations", b" " * (registry.settings.max_body_bytes + 1))
        assert answer.status_code == 413
        problem = answer.json()
        assert (problem["title"], problem["fix"]) == (problem["title"], "Send less; large files go to /v1/blobs.")
        assert str(registry.settings.max_body_bytes) in problem["detail"]

    def test_one_that_does_not_say_how_long_it_is_is_413_too(self, registry: Registry) -> None:
        def pieces() -> Iterator[bytes]:
            for _ in range(1 + registry.settings.max_body_bytes // 65_536):
                yield b" " * 65_536

        answer = registry.call("administrator", "POST", "/v1/organizations", content=pieces())
        assert answer.status_code == 413

    def test_one_that_lies_about_it_is_413_too(self, registry: Registry) -> None:
        answer = _post(registry, "/v1/organizations", b"{}", **{"Content-Length": "9" * 30})
        assert answer.status_code == 413

    def test_a_blob_above_its_own_limit_is_413_and_leaves_nothing(self, registry: Registry) -> None:
        content = b"x" * (registry.settings.max_blob_bytes + 1)
        before = [path for path in registry.settings.blobs.rglob("*") if path.is_file()]
        answer = registry.call("stranger", "PUT", f"{UPLOADS}{digest_bytes(content)}", content=content)
        assert answer.status_code == 413
        assert [path for path in registry.settings.blobs.rglob("*") if path.is_file()] == before

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/organizations", {"name": "x" * 64, "title": "x"}),
            ("/v1/organizations", {"name": "ok", "title": "x" * 201}),
            ("/v1/benchmarks", {"metrics": [METRICS[0]] * 51}),
            ("/v1/benchmarks", {"documentation": "x" * 20_001}),
            ("/v1/benchmarks", {"model_policy": {"allow_list": ["a@b.example"] * 1_001}}),
            ("/v1/cubes", {"parameters": {f"p{number}": 0 for number in range(201)}}),
            ("/v1/tokens", {"label": "x", "scopes": ["read"] * 6}),
        ],
        ids=["name", "title", "metrics", "text", "allow list", "parameters", "scopes"],
    )
    def test_each_part_has_a_limit_of_its_own(self, registry: Registry, path: str, body: dict[str, Any]) -> None:
        answer = registry.call("administrator", "POST", path, json=body)
        assert answer.status_code == 422
        assert any(
            "at most" in error["message"] or "match pattern" in error["message"] for error in answer.json()["errors"]
        )

    def test_a_heartbeat_has_no_room_for_a_case(self, registry: Registry) -> None:
        body = {**HEARTBEAT, "agent_version": "patient 7"}
        headers = {"Idempotency-Key": "heartbeat-1"}
        assert registry.call("site:north", "POST", "/v1/site/heartbeats", json=body, headers=headers).status_code == 422


class TestProblem:
    @pytest.mark.parametrize(
        ("party", "method", "path", "status"),
        [
            ("anyone", "GET", "/v1/users", 401),
            ("stranger", "GET", "/v1/audit", 403),
            ("stranger", "GET", "/v1/users/999", 404),
            ("stranger", "GET", "/nothing", 404),
            ("stranger", "DELETE", "/v1/users", 405),
            ("stranger", "GET", "/v1/users?limit=x", 422),
        ],
    )
    def test_every_refusal_is_a_document(
        self, registry: Registry, party: str, method: str, path: str, status: int
    ) -> None:
        answer = registry.call(party, method, path)
        problem = answer.json()
        assert (answer.status_code, problem["status"]) == (status, status)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["type"].startswith("urn:assay:problem:")
        assert problem["title"]
        assert problem["detail"]
        assert status == 405 or problem["fix"]

    def test_a_fault_of_its_own_tells_nothing_of_it(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fails(*_: Any) -> None:
            secret = "patient 7"
            raise RuntimeError(f"with {len(secret)} letters")

        monkeypatch.setattr("api.nouns.people.rules.create_organization", fails)
        answer = registry.call("administrator", "POST", "/v1/organizations", json={"name": "ok", "title": "x"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
        assert "letters" not in answer.text
        told = capsys.readouterr()
        assert "with 9 letters" in told.out + told.err
        assert "patient 7" not in (told.out + told.err).replace('secret = "patient 7"', "")

    def test_what_was_sent_is_not_repeated(self, registry: Registry) -> None:
        body = {"name": "ok", "title": "x", "patient": "Jane Doe, born 1950"}
        answer = registry.call("administrator", "POST", "/v1/organizations", json=body)
        assert answer.status_code == 422
        assert "Jane" not in answer.text

    def test_many_errors_are_told_in_one_answer_but_not_all(self, registry: Registry) -> None:
        body = {f"key{number}": number for number in range(100)}
        problem = registry.call("administrator", "POST", "/v1/organizations", json=body).json()
        assert len(problem["errors"]) == 20
        assert "(19 more)" in problem["detail"]


def test_every_list_has_pages(registry: Registry) -> None:
    listed = {
        path.removeprefix("/v1/")
        for path, methods in registry.app.openapi()["paths"].items()
        if "{" not in path and any(each["name"] == "limit" for each in methods.get("get", {}).get("parameters", []))
    }
    assert listed == set(LISTS)


@pytest.mark.parametrize("noun", LISTS)
class TestPage:
    def test_it_is_cut_by_the_server_and_counts_all(self, campaign: Campaign, noun: str) -> None:
        party = {"audit": "administrator", "users": "stranger"}.get(noun, "benchmark_owner")
        whole = campaign.registry.call(party, "GET", f"/v1/{noun}?limit=200").json()
        cut = campaign.registry.call(party, "GET", f"/v1/{noun}?limit=1&offset=1").json()
        assert whole["total"] == len(whole["items"])
        assert (cut["items"], cut["total"]) == (whole["items"][1:2], whole["total"])
        assert (cut["limit"], cut["offset"]) == (1, 1)

    def test_no_page_is_larger_than_200(self, campaign: Campaign, noun: str) -> None:
        for query in ("limit=0", "limit=201", "limit=-1", "limit=x", "offset=-1", "offset=9999999999999"):
            assert campaign.registry.call("administrator", "GET", f"/v1/{noun}?{query}").status_code == 422

    def test_beyond_the_end_is_nothing(self, campaign: Campaign, noun: str) -> None:
        beyond = campaign.registry.call("administrator", "GET", f"/v1/{noun}?offset=1000000").json()
        assert beyond["items"] == []
