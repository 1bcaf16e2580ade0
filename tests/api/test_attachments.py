"""Bills of materials and vulnerability reports: attached by an owner, counted by the registry, seen where people decide."""

import json
from typing import Any

import pytest

from api.schemas.cubes import CubeKind
from cubes.digests import digest_bytes
from tests.api.campaign import Campaign, refused

SBOM: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "metadata": {"timestamp": "2026-11-01T10:00:00Z"},
    "components": [{"name": "<script>alert(1)</script>"}, {"name": "numpy"}],
}
REPORT: dict[str, Any] = {
    "SchemaVersion": 2,
    "CreatedAt": "2026-11-02T08:00:00Z",
    "Results": [
        {"Target": "x", "Vulnerabilities": [{"Severity": "HIGH", "Title": "<img src=x>"}, {"Severity": "LOW"}]}
    ],
}


def _upload(campaign: Campaign, document: Any, party: str = "model_owner") -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return campaign.upload_demo(party, data)


@pytest.mark.stage("opened")
class TestAttach:
    def test_the_registry_says_what_they_are_and_count(self, campaign: Campaign) -> None:
        sbom, report = _upload(campaign, SBOM), _upload(campaign, REPORT)
        cube = campaign.add_cube(
            "c1", CubeKind.MODEL, party="model_owner", sbom_digest=sbom, vulnerabilities_digest=report
        )
        assert [(each.kind, each.digest, each.dated) for each in cube.attachments] == [
            ("sbom", sbom, "2026-11-01"),
            ("vulnerabilities", report, "2026-11-02"),
        ]
        assert cube.attachments[0].counts == {"components": 2}
        assert {name: n for name, n in cube.attachments[1].counts.items() if n} == {"high": 1, "low": 1}

    @pytest.mark.parametrize(
        ("document", "said"), [(b"<script>", "not plain JSON"), ({"bomFormat": "x"}, "give CycloneDX or SPDX")]
    )
    def test_what_is_no_such_document_is_refused(self, campaign: Campaign, document: Any, said: str) -> None:
        digest = _upload(campaign, document)
        with refused(422, said):
            campaign.add_cube("c1", CubeKind.MODEL, party="model_owner", sbom_digest=digest)

    def test_only_what_the_owner_uploaded(self, campaign: Campaign) -> None:
        digest = _upload(campaign, SBOM, "stranger")
        with refused(422, "was not uploaded by"):
            campaign.add_cube("c1", CubeKind.MODEL, party="model_owner", sbom_digest=digest)

    def test_without_them_there_are_none(self, campaign: Campaign) -> None:
        assert campaign.cube("alpha-cube").attachments == []


@pytest.mark.stage("opened")
class TestShow:
    def test_the_committee_s_gate_and_the_site_s_work_carry_the_counts(self, campaign: Campaign) -> None:
        report = _upload(campaign, REPORT)
        campaign.add_model("scanned", vulnerabilities_digest=report)
        asked = campaign.ask_for_model("scanned")
        gate = campaign.gate_of(asked)
        (shown,) = gate.shown["model"]["cube"]["attachments"]
        assert (shown["kind"], shown["digest"], shown["counts"]["high"]) == ("vulnerabilities", report, 1)
        assert "<img" not in json.dumps(gate.shown)
        campaign.admit(asked)
        (model,) = campaign.work().models
        assert model.cube.attachments[0].digest == report

    def test_whoever_decides_may_read_the_document_and_a_stranger_may_not(self, campaign: Campaign) -> None:
        report = _upload(campaign, REPORT)
        campaign.add_model("scanned", vulnerabilities_digest=report)
        campaign.ask_for_model("scanned")
        target = campaign.scratch / "report.json"
        campaign.client("committee_member").blobs.download(report, target)
        assert digest_bytes(target.read_bytes()) == report
        with refused(404, "may have"):
            campaign.client("stranger").blobs.download(report, campaign.scratch / "other.json")
