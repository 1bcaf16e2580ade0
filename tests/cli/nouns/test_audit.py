"""The registry's history, held against what a site remembers of it."""

from collections.abc import Callable

import pytest

from agents.store.heads import keep_head
from agents.store.tables import Role
from api.schemas.people import TokenCreate
from api.schemas.records import AuditHead, AuditVerification
from tests.cli.federation import Federation
from tests.cli.support import Assay, Here


class TestList:
    def test_for_administrators_narrowed_by_action(self, at: Assay) -> None:
        found = at("root", "audit", "list", "--action", "user.created", "--limit", "2", "--json").json
        assert [item["action"] for item in found] == ["user.created"] * 2
        assert "organization.created" in at("root", "audit", "list").out

    def test_more_than_a_page(self, at: Assay, registry: Federation) -> None:
        with registry.client("root") as root:
            for number in range(40):
                root.users.revoke_token(root.users.issue_token(TokenCreate(label=f"many {number}")).id)
            total = root.audit.head().sequence
        found = at("root", "audit", "list", "--limit", "1000", "--json").json
        assert [item["sequence"] for item in found[:total]] == list(range(1, total + 1))

    def test_for_nobody_else(self, at: Assay) -> None:
        assert at("eve", "audit", "list").code == 4


class TestVerify:
    def test_a_whole_history(self, at: Assay) -> None:
        ended = at("eve", "audit", "verify")
        assert ended.code == 0
        assert "The history is whole: " in ended.out
        assert "So says the registry; nothing kept elsewhere was held against it: name a site's folder" in ended.out
        found = at("eve", "audit", "verify", "--json").json
        assert found["intact"] is True
        assert found["kept_heads"] is None

    def test_the_head_is_where_it_ends(self, at: Assay) -> None:
        assert at("eve", "audit", "head", "--json").json["sequence"] > 10

    def test_a_broken_chain_is_ten(self, at: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = AuditVerification(entries=4, intact=False, first_broken=5, head="00")
        monkeypatch.setattr("api.client.audit.Audit.verify", lambda _: broken)
        ended = at("eve", "audit", "verify")
        assert ended.code == 10
        assert "entry 5" in ended.err

    def test_a_changed_row_is_ten_and_named(self, at: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = ["result:3: metrics", "release:1 is gone"]
        changed = AuditVerification(entries=4, intact=False, first_broken=None, head="00", changed_rows=rows)
        monkeypatch.setattr("api.client.audit.Audit.verify", lambda _: changed)
        ended = at("eve", "audit", "verify")
        assert ended.code == 10
        assert "changed in its database: result:3: metrics; release:1 is gone" in ended.err
        assert "result:3: metrics, release:1 is gone" in " ".join(ended.out.split())
        assert at("eve", "audit", "verify", "--json").json["changed_rows"] == rows


class TestCompare:
    @pytest.fixture
    def kept(self, registry: Federation, here: Here, signed_in: Callable[[Role], None]) -> Callable[[AuditHead], None]:
        """Keep a head at a site on this host, as its agent does."""
        signed_in(Role.DATA_OWNER)

        def keep(head: AuditHead) -> None:
            with here.store.write() as session:
                keep_head(session, head)

        with registry.client("root") as root:
            first = root.audit.entries(limit=1).items[0]
        keep(AuditHead(sequence=first.sequence, head=first.digest))
        return keep

    def test_an_administrator_compares_every_head(
        self, at: Assay, kept: Callable[[AuditHead], None], registry: Federation
    ) -> None:
        with registry.client("eve") as eve:
            kept(eve.audit.head())
        found = at("root", "audit", "verify", "--json").json
        assert (found["kept_heads"], found["compared_heads"], found["contradicting_heads"]) == (2, 2, [])

    def test_a_rewritten_entry_is_ten(self, at: Assay, kept: Callable[[AuditHead], None]) -> None:
        kept(AuditHead(sequence=3, head="ff" * 32))
        ended = at("root", "audit", "verify")
        assert ended.code == 10
        assert "entry 3 is not what this site saw" in ended.err

    def test_others_compare_what_their_site_saw(
        self, at: Assay, kept: Callable[[AuditHead], None], registry: Federation
    ) -> None:
        """Nobody has to be an administrator to find out that history was rewritten."""
        with registry.client("eve") as eve:
            kept(eve.audit.head())
        found = at("eve", "audit", "verify", "--json").json
        assert (found["kept_heads"], found["compared_heads"], found["contradicting_heads"]) == (2, 2, [])
        out = at("eve", "audit", "verify").out
        assert "as this hospital saw it: 2 of the 2 heads that it kept were compared" in out

    def test_others_find_a_rewritten_entry_too(self, at: Assay, kept: Callable[[AuditHead], None]) -> None:
        kept(AuditHead(sequence=3, head="ff" * 32))
        ended = at("eve", "audit", "verify")
        assert ended.code == 10
        assert "entry 3 is not what this site saw" in ended.err

    def test_a_history_that_shrank_is_ten_for_everybody(self, at: Assay, kept: Callable[[AuditHead], None]) -> None:
        kept(AuditHead(sequence=10**6, head="ff" * 32))
        ended = at("eve", "audit", "verify", "--json")
        assert ended.code == 10
        assert [item["sequence"] for item in ended.json["contradicting_heads"]] == [10**6]
