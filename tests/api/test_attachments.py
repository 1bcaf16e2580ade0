"""Bills of materials and vulnerability reports: attached by an owner, counted by the registry, seen where people decide."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlmodel import Session

from api.core.audit import AuditLog, AuditRow
from api.schemas.benchmarks import DecisionCreate, GateState, Verdict
from api.schemas.cubes import AttachmentCreate, CubeKind
from api.storage.columns import now
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


def _renew(campaign: Campaign, cube: str, document: Any, kind: str = "vulnerabilities") -> Any:
    """The owner attaches a document to a cube that is registered; its digest."""
    new = AttachmentCreate.model_validate({"kind": kind, "digest": _upload(campaign, document)})
    return campaign.client("model_owner").cubes.attach(campaign.cube(cube).id, new)


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


@pytest.mark.stage("opened")
class TestRenew:
    def test_a_document_comes_later(self, campaign: Campaign) -> None:
        begun = now()
        cube = _renew(campaign, "alpha-cube", REPORT)
        (attached,) = cube.attachments
        assert (attached.kind, attached.counts["high"]) == ("vulnerabilities", 1)
        assert begun <= attached.attached_at <= now()
        assert cube.pack_digest == campaign.cube("alpha-cube").pack_digest

    def test_one_takes_the_place_of_another_of_its_kind_and_both_are_remembered(self, campaign: Campaign) -> None:
        sbom = _upload(campaign, SBOM)
        cube = campaign.add_cube("c1", CubeKind.MODEL, party="model_owner", sbom_digest=sbom)
        _renew(campaign, "c1", REPORT)
        newest = _renew(campaign, "c1", {**REPORT, "Results": []})
        assert [(each.kind, each.counts.get("high")) for each in newest.attachments] == [
            ("sbom", None),
            ("vulnerabilities", 0),
        ]
        history = campaign.client("stranger").cubes.attachments(cube.id)
        assert [(each.kind, each.counts.get("high")) for each in history] == [
            ("sbom", None),
            ("vulnerabilities", 1),
            ("vulnerabilities", 0),
        ]
        assert [each.attached_at for each in history] == sorted(each.attached_at for each in history)
        assert history[0].digest == sbom

    def test_the_same_again_is_refused(self, campaign: Campaign) -> None:
        _renew(campaign, "alpha-cube", REPORT)
        with refused(409, "is the vulnerabilities of 'alpha-cube' already"):
            _renew(campaign, "alpha-cube", REPORT)

    def test_nobody_but_its_owner(self, campaign: Campaign) -> None:
        new = AttachmentCreate.model_validate(
            {"kind": "vulnerabilities", "digest": _upload(campaign, REPORT, "committee_member")}
        )
        with refused(403, "may"):
            campaign.client("committee_member").cubes.attach(campaign.cube("alpha-cube").id, new)

    def test_what_is_no_report_changes_nothing(self, campaign: Campaign) -> None:
        with refused(422, "give CycloneDX, Trivy or Grype JSON"):
            _renew(campaign, "alpha-cube", SBOM | {"bomFormat": "x"})
        assert campaign.cube("alpha-cube").attachments == []


@pytest.mark.stage("opened")
class TestAskAgain:
    """A question that showed the cube."""

    def test_what_was_decided_is_decided_again_on_what_is_there_now(self, campaign: Campaign) -> None:
        campaign.add_model("scanned")
        asked = campaign.ask_for_model("scanned")
        before = campaign.gate_of(asked)
        decision = DecisionCreate(digest=before.digest, verdict=Verdict.APPROVE, reason="seen")
        campaign.client("benchmark_owner").gates.decide(before.id, decision)
        assert campaign.gate(before.id).state == GateState.DECIDED
        cube = _renew(campaign, "scanned-cube", REPORT)
        again = campaign.gate(before.id)
        assert (again.state, again.digest == before.digest) == (GateState.OPEN, False)
        assert again.shown["model"]["cube"]["attachments"] == [cube.attachments[0].model_dump(mode="json")]
        with refused(409, "look at the gate again"):
            campaign.client("committee_member").gates.decide(before.id, decision)

    def test_while_somebody_decides(self, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
        campaign.add_model("scanned")
        gate = campaign.gate_of(campaign.ask_for_model("scanned"))
        append, decides = AuditLog.append, Event()

        def slowly(log: AuditLog, session: Session, **entry: Any) -> AuditRow:
            if entry["action"] == "gate.decided":  # the gate's benchmark is held, and the log comes next
                decides.set()
                campaign.registry.until_one_waits()
            return append(log, session, **entry)

        def attach() -> Any:
            assert decides.wait(60)
            return _renew(campaign, "scanned-cube", REPORT)

        monkeypatch.setattr(AuditLog, "append", slowly)
        with ThreadPoolExecutor(1) as pool:
            attached = pool.submit(attach)
            campaign.decide(gate, "benchmark_owner")
            assert attached.result().attachments
        assert campaign.gate(gate.id).state == GateState.OPEN

    def test_questions_about_other_cubes_stay(self, campaign: Campaign) -> None:
        campaign.add_model("scanned")
        gate = campaign.gate_of(campaign.ask_for_model("scanned"))
        _renew(campaign, "alpha-cube", REPORT)
        assert campaign.gate(gate.id).digest == gate.digest

    def test_those_who_decided_may_read_the_one_before(self, campaign: Campaign) -> None:
        campaign.add_model("scanned", vulnerabilities_digest=_upload(campaign, REPORT))
        campaign.ask_for_model("scanned")
        old = digest_bytes(json.dumps(REPORT).encode())
        _renew(campaign, "scanned-cube", {**REPORT, "Results": []})
        target = campaign.scratch / "report.json"
        campaign.client("committee_member").blobs.download(old, target)
        assert digest_bytes(target.read_bytes()) == old

    def test_sites_are_told_the_newest(self, campaign: Campaign) -> None:
        campaign.add_model("scanned")
        campaign.admit(campaign.ask_for_model("scanned"))
        cube = _renew(campaign, "scanned-cube", REPORT)
        (model,) = campaign.work().models
        assert model.cube.attachments == cube.attachments
