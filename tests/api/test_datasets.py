"""Datasets: how they become known, and who sees what of them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from api.schemas.border import MAX_PAYLOAD_BYTES, DatasetRegistration, PayloadKind
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.api.campaign import Campaign, approval, refused

pytestmark = pytest.mark.stage("opened")


def _bare(campaign: Campaign, body: Any, key: str = "dataset-1", party: str = "site:north") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return campaign.registry.call(party, "POST", "/v1/site/datasets", content=content, headers=headers)


class TestRegister:
    def test_it_is_the_sites(self, campaign: Campaign) -> None:
        number = campaign.register("north", "fresh", cases=50)
        found = campaign.client("data_owner").datasets.get(number)
        assert (found.name, found.cases, found.site_name) == ("fresh", 50, "north")

    def test_it_stands_in_the_audit_log_with_who_let_it_go(self, campaign: Campaign) -> None:
        number = campaign.register("north", "fresh")
        entry = campaign.client("administrator").audit.entries(action="dataset.registered", limit=200).items[-1]
        assert (entry.actor, entry.subject) == ("site north", f"dataset:{number}")
        assert entry.detail["decision"]["person"] == "Nora North <nora@north.example>"

    def test_the_same_key_is_the_same_write(self, campaign: Campaign) -> None:
        new = campaign.registration("fresh")
        first = campaign.send("north", PayloadKind.DATASET, new, "dataset-1")
        entries = campaign.registry.entries()
        assert campaign.send("north", PayloadKind.DATASET, new, "dataset-1") == first
        assert campaign.registry.entries() == entries

    def test_the_same_key_for_something_else_is_refused(self, campaign: Campaign) -> None:
        campaign.send("north", PayloadKind.DATASET, campaign.registration("fresh"), "dataset-1")
        with refused(409, "the idempotency key 'dataset-1' was used for another body before"):
            campaign.send("north", PayloadKind.DATASET, campaign.registration("other"), "dataset-1")

    def test_keys_of_two_sites_do_not_collide(self, campaign: Campaign) -> None:
        new = campaign.registration("fresh")
        numbers = {campaign.send(site, PayloadKind.DATASET, new, "dataset-1") for site in ("north", "south")}
        assert len(numbers) == 2

    def test_the_same_name_and_contents_are_the_same_dataset(self, campaign: Campaign) -> None:
        new = campaign.registration("fresh")
        numbers = {campaign.send("north", PayloadKind.DATASET, new, f"dataset-{n}") for n in range(3)}
        assert len(numbers) == 1

    def test_whoever_let_it_go_the_second_time(self, campaign: Campaign) -> None:
        first = campaign.register("north", "fresh", statistics={"mean": float("nan")})
        decision = approval("register_dataset", person="Nils North <nils@north.example>")
        assert campaign.register("north", "fresh", statistics={"mean": float("nan")}, decision=decision) == first
        kept = campaign.client("data_owner").datasets.get(first).decision
        assert kept is not None
        assert kept.person == "Nora North <nora@north.example>"

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"cases": 90}, "cases"),
            ({"statistics": {"cases": 100, "malignant": 38}}, "statistics"),
            ({"title": "Other", "cases": 99}, "title, cases"),
            ({"data_root": digest_bytes(b"x")}, "data_root"),
        ],
    )
    def test_the_same_contents_with_something_else_said_of_them_are_refused(
        self, campaign: Campaign, changes: dict[str, Any], told: str
    ) -> None:
        number = campaign.register("north", "fresh")
        kept = campaign.client("data_owner").datasets.get(number)
        with refused(409, f"dataset {number} .* is registered with other {told}, for the same contents"):
            campaign.register("north", "fresh", **changes)
        assert campaign.client("data_owner").datasets.get(number) == kept

    def test_other_contents_are_another_dataset(self, campaign: Campaign) -> None:
        first = campaign.register("north", "fresh")
        assert campaign.register("north", "fresh", root=digest_bytes(b"corrected")) != first

    @pytest.mark.parametrize(
        ("changes", "status", "message"),
        [
            ({"benchmark_id": 999}, 404, "there is no benchmark 999"),
            ({"preparator_digest": digest_bytes(b"x")}, 409, "Prepare the data with 'preparator'"),
            ({"cases": 0}, 422, "dataset 'fresh' has no cases"),
            ({"decision": approval("register_dataset", verdict="reject")}, 422, "did not approve this"),
            ({"decision": approval("release_results")}, 422, "not 'register_dataset'"),
            ({"decision": approval("register_dataset", decided_at=now() + timedelta(days=3))}, 422, "which is to come"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, campaign: Campaign, changes: dict[str, Any], status: int, message: str
    ) -> None:
        with refused(status, message):
            campaign.register("north", "fresh", **changes)

    def test_a_benchmark_that_is_closed_takes_none(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.close(campaign.benchmark_id)
        with refused(409, "is closed"):
            campaign.register("north", "fresh")

    @pytest.mark.parametrize("party", ["data_owner", "administrator", "service"])
    def test_only_a_sites_agent_may(self, campaign: Campaign, party: str) -> None:
        body = campaign.registration("fresh").model_dump(mode="json")
        assert _bare(campaign, body, party=party).status_code == 403

    def test_undefined_statistics_survive(self, campaign: Campaign) -> None:
        number = campaign.register("north", "fresh", statistics={"mean": float("nan"), "top": [float("inf")]})
        kept = campaign.client("data_owner").datasets.get(number).statistics
        assert kept == {"mean": "float:nan", "top": ["float:inf"]}


class TestRegisterBadInput:
    @pytest.mark.parametrize(
        "changes",
        [
            {"file_names": ["patient_7.dcm"]},
            {"statistics": {"a": 2**60}},
            {"statistics": {"a": "x" * 140_000}},
            {"statistics": {"a": "\ud800"}},
            {"name": "UPPER"},
            {"title": "two\nlines"},
            {"root": "sha256:short"},
            {"cases": 10**13},
            {"benchmark_id": 2**31},
            {"decision": None},
            {"decision": {"gate": "register_dataset"}},
        ],
    )
    def test_a_shape_that_is_not_on_the_list_is_refused(self, campaign: Campaign, changes: dict[str, Any]) -> None:
        answer = _bare(campaign, {**campaign.registration("fresh").model_dump(mode="json"), **changes})
        assert answer.status_code == 422, answer.text
        assert "patient_7" not in answer.text

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b"null"], ids=lambda c: repr(c[:4])
    )
    def test_what_is_no_document_is_refused(self, campaign: Campaign, content: bytes) -> None:
        assert _bare(campaign, content).status_code in {400, 422}

    def test_deep_statistics_are_refused(self, campaign: Campaign) -> None:
        deep: Any = 1
        for _ in range(400):
            deep = [deep]
        body = {**campaign.registration("fresh").model_dump(mode="json"), "statistics": {"a": deep}}
        assert _bare(campaign, body).status_code in {400, 422}

    def test_what_is_too_large_is_refused(self, campaign: Campaign) -> None:
        body = campaign.registration("fresh").model_dump_json().encode() + b" " * MAX_PAYLOAD_BYTES
        answer = _bare(campaign, body)
        assert (answer.status_code, "Aggregate further" in answer.json()["fix"]) == (413, True)

    @pytest.mark.parametrize("key", ["", "short", "with space", "x" * 201])
    def test_a_key_that_is_none_is_refused(self, campaign: Campaign, key: str) -> None:
        assert _bare(campaign, campaign.registration("fresh").model_dump(mode="json"), key).status_code == 422


class TestSeeStatistics:
    def test_the_hospital_does(self, campaign: Campaign) -> None:
        found = campaign.client("data_owner").datasets.get(campaign.registry.ids["dataset:north"])
        assert found.statistics == {"cases": 100, "malignant": 37}
        assert found.decision is not None

    @pytest.mark.parametrize(
        "party", ["stranger", "model_owner", "other_data_owner", "administrator", "benchmark_owner", "committee_member"]
    )
    def test_others_see_that_it_is_there_and_no_more(self, campaign: Campaign, party: str) -> None:
        number = campaign.registry.ids["dataset:north"]
        listed = campaign.client(party).datasets.list(site_id=campaign.registry.ids["site:north"]).items
        for found in (campaign.client(party).datasets.get(number), *listed):
            assert (found.id, found.statistics, found.decision) == (number, None, None)

    def test_a_committee_does_from_the_moment_it_is_asked(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_dataset("north")
        client = campaign.client("committee_member")
        assert client.datasets.get(asked.subject_id).statistics == {"cases": 100, "malignant": 37}
        campaign.client("data_owner").associations.withdraw(asked.id, "no")
        assert client.datasets.get(asked.subject_id).statistics is None

    def test_another_benchmarks_committee_does_not(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_dataset("north")
        spec = campaign.specification(name="other", demo_dataset_digest=campaign.upload_demo("stranger", b"more"))
        campaign.client("stranger").benchmarks.create(spec)
        assert campaign.client("stranger").datasets.get(asked.subject_id).statistics is None


class TestList:
    @pytest.mark.parametrize(
        ("filters", "total"),
        [({"name": "cases"}, 2), ({"name": "none"}, 0), ({"benchmark_id": 99}, 0), ({"site_id": 1}, 1)],
    )
    def test_filters_and_pages_are_the_servers(self, campaign: Campaign, filters: dict[str, Any], total: int) -> None:
        page = campaign.client("stranger").datasets.list(limit=1, offset=0, **filters)
        assert (page.total, len(page.items)) == (total, min(total, 1))

    def test_a_site_lists_nothing(self, campaign: Campaign) -> None:
        with refused(403, "It takes service or user"):
            campaign.client("site:north").datasets.list()


class TestShape:
    def test_no_file_name_and_no_case_has_a_place(self) -> None:
        assert set(DatasetRegistration.model_fields) == {
            "name", "title", "benchmark_id", "preparator_digest", "root", "data_root", "labels_root", "metadata_root",
            "cases", "statistics", "decision",
        }  # fmt: skip
