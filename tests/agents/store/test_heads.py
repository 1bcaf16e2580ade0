"""Heads of the registry's audit chain: kept for ever, and held against what the registry says now."""

from agents.store import Store
from agents.store.heads import contradictions, keep_head, list_heads
from api.schemas.records import AuditEntry, AuditHead
from api.storage.columns import now


def _head(sequence: int, letter: str = "a") -> AuditHead:
    return AuditHead(sequence=sequence, head=letter * 64)


def _entry(sequence: int, letter: str) -> AuditEntry:
    return AuditEntry(sequence=sequence, at=now(), actor="a", action="b", subject="c", detail={}, digest=letter * 64)


class TestKeep:
    def test_the_same_head_is_kept_once(self, store: Store) -> None:
        with store.write() as session:
            assert keep_head(session, _head(3)) is None
            assert keep_head(session, _head(3)) is None
            assert [kept.sequence for kept in list_heads(session)] == [3]

    def test_a_chain_that_grows_contradicts_nothing(self, store: Store) -> None:
        with store.write() as session:
            assert [keep_head(session, _head(n, letter)) for n, letter in ((1, "a"), (5, "b"), (9, "c"))] == [None] * 3
            assert [kept.sequence for kept in list_heads(session)] == [1, 5, 9]

    def test_a_chain_that_shrank_is_said_once_and_kept(self, store: Store) -> None:
        with store.write() as session:
            keep_head(session, _head(9))
            found = keep_head(session, _head(4, "b"))
            assert found is not None
            assert "9" in str(found)
            assert "4" in str(found)
            assert keep_head(session, _head(4, "b")) is None
            assert len(list_heads(session)) == 2

    def test_another_entry_at_the_same_place_contradicts(self, store: Store) -> None:
        with store.write() as session:
            keep_head(session, _head(9, "a"))
            found = keep_head(session, _head(9, "b"))
        assert found is not None
        assert "a" * 64 in str(found)
        assert "b" * 64 in str(found)


class TestContradictions:
    def test_each_kept_head_is_looked_for_among_the_entries(self, store: Store) -> None:
        with store.write() as session:
            for sequence, letter in ((0, "0"), (1, "a"), (2, "x"), (7, "g")):
                keep_head(session, _head(sequence, letter))
            heads = list_heads(session)
        entries = [_entry(number, letter) for number, letter in enumerate("abcde", 1)]
        assert [head.sequence for head in contradictions(heads, entries)] == [2, 7]

    def test_none_among_a_history_that_goes_on(self, store: Store) -> None:
        with store.write() as session:
            keep_head(session, _head(2, "b"))
            heads = list_heads(session)
        assert contradictions(heads, [_entry(number, letter) for number, letter in enumerate("abcde", 1)]) == []
