"""Bills of materials and vulnerability reports, as tools write them and as strangers might."""

import json
from typing import Any

import pytest

from cubes.attachments import MAX_ATTACHMENT_BYTES, AttachmentKind, describe_attachment
from cubes.digests import digest_bytes
from cubes.errors import ReportError

SBOM, VULNERABILITIES = AttachmentKind.SBOM, AttachmentKind.VULNERABILITIES
CYCLONEDX: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {"timestamp": "2026-11-01T10:00:00Z"},
    "components": [
        {"type": "library", "name": "numpy", "version": "2.4.6"},
        {"type": "application", "name": "<script>alert(1)</script>", "components": [{"type": "library", "name": "x"}]},
    ],
    "vulnerabilities": [
        {"id": "CVE-1", "ratings": [{"severity": "low"}, {"severity": "high"}]},
        {"id": "CVE-2", "ratings": []},
        {"id": "CVE-3", "ratings": [{"severity": "none"}]},
    ],
}
SPDX: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3",
    "creationInfo": {"created": "2026-10-31T00:00:00Z", "creators": ["Tool: x"]},
    "packages": [{"SPDXID": "SPDXRef-1", "name": "numpy"}, {"SPDXID": "SPDXRef-2", "name": "scipy"}],
}
TRIVY: dict[str, Any] = {
    "SchemaVersion": 2,
    "CreatedAt": "2026-11-02T08:00:00.123+01:00",
    "Results": [
        {"Target": "debian", "Vulnerabilities": [{"Severity": "CRITICAL"}, {"Severity": "HIGH"}, {"Severity": "HIGH"}]},
        {"Target": "python", "Class": "lang-pkgs"},
        {"Target": "odd", "Vulnerabilities": [{"Severity": "<img src=x>"}, {"Severity": None}]},
    ],
}
GRYPE: dict[str, Any] = {
    "matches": [
        {"vulnerability": {"id": "CVE-9", "severity": "Negligible"}},
        {"vulnerability": {"severity": "Medium"}},
    ],
    "descriptor": {"name": "grype", "timestamp": "2026-11-03T00:00:00Z"},
}


def _bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def _counts(**given: int) -> dict[str, int]:
    return {name: given.get(name, 0) for name in ("critical", "high", "medium", "low", "negligible", "unknown")}


class TestBillOfMaterials:
    @pytest.mark.parametrize(
        ("document", "media_type", "components", "dated"),
        [
            (CYCLONEDX, "application/vnd.cyclonedx+json", 3, "2026-11-01"),
            (SPDX, "application/spdx+json", 2, "2026-10-31"),
        ],
    )
    def test_is_counted(self, document: dict[str, Any], media_type: str, components: int, dated: str) -> None:
        data = _bytes(document)
        found = describe_attachment(data, SBOM)
        assert (found.media_type, found.counts, found.dated) == (media_type, {"components": components}, dated)
        assert (found.digest, found.size) == (digest_bytes(data), len(data))

    def test_a_date_that_is_none_is_left_out(self) -> None:
        document = {**SPDX, "creationInfo": {"created": "<b>yesterday</b>"}}
        assert describe_attachment(_bytes(document), SBOM).dated is None


class TestVulnerabilities:
    @pytest.mark.parametrize(
        ("document", "counts"),
        [
            (CYCLONEDX, _counts(high=1, unknown=1, negligible=1)),
            (TRIVY, _counts(critical=1, high=2, unknown=2)),
            (GRYPE, _counts(negligible=1, medium=1)),
        ],
    )
    def test_are_counted_by_severity(self, document: dict[str, Any], counts: dict[str, int]) -> None:
        assert describe_attachment(_bytes(document), VULNERABILITIES).counts == counts

    def test_nothing_found_is_said_as_zeros(self) -> None:
        assert describe_attachment(_bytes({**TRIVY, "Results": []}), VULNERABILITIES).counts == _counts()

    @pytest.mark.parametrize("document", [CYCLONEDX, TRIVY, GRYPE])
    def test_no_text_of_the_document_is_kept(self, document: dict[str, Any]) -> None:
        kept = describe_attachment(_bytes(document), VULNERABILITIES).model_dump_json()
        assert "<" not in kept
        assert "CVE" not in kept


class TestRefuse:
    @pytest.mark.parametrize(
        ("data", "kind", "said"),
        [
            (b"not json", SBOM, "not plain JSON"),
            (b"\xff\xfe", SBOM, "not plain JSON"),
            (b"[]", SBOM, "not a JSON object"),
            (b"[" * 200_000, SBOM, "not plain JSON"),
            (b'{"a": 1, "a": 2}', SBOM, "appears twice"),
            (b'{"a": NaN}', SBOM, "not plain JSON"),
            (b"{}", SBOM, "give CycloneDX or SPDX"),
            (_bytes(SPDX), VULNERABILITIES, "give CycloneDX, Trivy or Grype"),
            (_bytes(TRIVY), SBOM, "give CycloneDX or SPDX"),
            (_bytes({"bomFormat": "CycloneDX", "components": "many"}), SBOM, "not a list of objects"),
            (_bytes({"bomFormat": "CycloneDX", "components": [1, 2]}), SBOM, "not a list of objects"),
            (_bytes({**TRIVY, "Results": {"a": 1}}), VULNERABILITIES, "not a list of objects"),
            (b" " * (MAX_ATTACHMENT_BYTES + 1), SBOM, "more than"),
        ],
    )
    def test_what_is_no_such_document(self, data: bytes, kind: AttachmentKind, said: str) -> None:
        with pytest.raises(ReportError, match=said):
            describe_attachment(data, kind)

    def test_too_many_entries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cubes.attachments._MOST", 2)
        with pytest.raises(ReportError, match="lists more than 2"):
            describe_attachment(_bytes(CYCLONEDX), SBOM)
