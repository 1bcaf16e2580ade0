"""What is tried again and what is not, and what becomes of answers that are none."""

import json
import pickle

import pytest

from api.client import Refused, RegistryClient, RegistryError, Unreachable, WrongContent
from api.schemas.border import PayloadKind
from api.schemas.people import OrganizationCreate
from tests.api.client.conftest import Answer, Scripted, drop, say

HEAD = {"sequence": 7, "head": "ab" * 32}
PROBLEM = {
    "type": "urn:assay:problem:conflict",
    "title": "Conflict",
    "status": 409,
    "detail": "'north' is taken.",
    "fix": "Choose another name.",
}
AWAY = [drop, say(502), say(503), say(504)]
AWAY_NAMES = ["broken connection", "502", "503", "504"]
MADE = "2026-01-01T00:00:00Z"
NEW = OrganizationCreate(name="north", title="North")


class TestRead:
    @pytest.mark.parametrize("answer", AWAY, ids=AWAY_NAMES)
    def test_an_absent_registry_is_asked_three_times(
        self, client: RegistryClient, scripted: Scripted, slept: list[float], answer: Answer
    ) -> None:
        scripted.answers = [answer, answer, say(200, HEAD)]
        assert client.audit.head().sequence == 7
        assert [asked.path for asked in scripted.asked] == ["/v1/audit/head"] * 3
        assert slept == [0.1, 0.5]

    @pytest.mark.parametrize("answer", AWAY, ids=AWAY_NAMES)
    def test_and_then_given_up(
        self, client: RegistryClient, scripted: Scripted, slept: list[float], answer: Answer
    ) -> None:
        scripted.answers = [answer]
        with pytest.raises(Unreachable, match=scripted.url):
            client.audit.head()
        assert (len(scripted.asked), len(slept)) == (3, 2)

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 413, 422, 429, 500])
    def test_a_no_is_a_no(self, client: RegistryClient, scripted: Scripted, slept: list[float], status: int) -> None:
        scripted.answers = [say(status, {**PROBLEM, "status": status})]
        with pytest.raises(Refused) as caught:
            client.audit.head()
        assert (caught.value.status, len(scripted.asked), slept) == (status, 1, [])

    def test_one_that_says_nothing_is_absent(self, scripted: Scripted, slept: list[float]) -> None:
        scripted.answers = [scripted.hang, say(200, HEAD)]
        with RegistryClient(scripted.url, "secret", timeout_s=2) as client:
            assert client.audit.head().sequence == 7
        assert slept[0] == 0.1

    def test_nobody_listens(self, slept: list[float]) -> None:
        with RegistryClient("http://127.0.0.1:9", "secret") as client, pytest.raises(Unreachable, match="ConnectError"):
            client.audit.head()
        assert slept == [0.1, 0.5]

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>Welcome</html>", b"[]", b'{"sequence": "7", "head": 1}', b'{"sequence": 7', b"\xff"],
        ids=["nothing", "a page", "a list", "other types", "half", "no text"],
    )
    def test_what_is_no_answer_is_not_tried_again(
        self, client: RegistryClient, scripted: Scripted, slept: list[float], body: bytes
    ) -> None:
        scripted.answers = [say(200, body)]
        with pytest.raises(WrongContent, match="is this a registry, and of this version"):
            client.audit.head()
        assert (len(scripted.asked), slept) == (1, [])


class TestWrite:
    @pytest.mark.parametrize("answer", AWAY, ids=AWAY_NAMES)
    def test_it_is_sent_once(
        self, client: RegistryClient, scripted: Scripted, slept: list[float], answer: Answer
    ) -> None:
        """It may have arrived: without an idempotency key nobody could tell."""
        scripted.answers = [answer]
        with pytest.raises(Unreachable):
            client.organizations.create(NEW)
        assert (len(scripted.asked), slept) == (1, [])

    def test_a_payload_is_sent_as_it_is_under_its_own_key(self, client: RegistryClient, scripted: Scripted) -> None:
        """Byte for byte: what was approved and what is kept at the site are these bytes."""
        scripted.answers = [drop, say(201, {"id": 5})]
        body = b'{"b": 1.50, "a":  [ 2 ]}'
        with pytest.raises(Unreachable):
            client.send(PayloadKind.RESULT, body, idempotency_key="result-0001")
        assert client.send(PayloadKind.RESULT, body, idempotency_key="result-0001") == {"id": 5}
        assert [(asked.path, asked.body) for asked in scripted.asked] == [("/v1/site/results", body)] * 2
        assert {asked.headers["idempotency-key"] for asked in scripted.asked} == {"result-0001"}

    def test_an_answer_without_content_is_one(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [say(204)]
        client.benchmarks.remove_member(1, 2)
        assert (scripted.asked[0].method, scripted.asked[0].path) == ("DELETE", "/v1/benchmarks/1/committee/2")


class TestToken:
    def test_a_redirect_does_not_take_it_elsewhere(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [say(307, b"", Location=f"{scripted.url}/elsewhere")]
        with pytest.raises(Refused) as caught:
            client.audit.head()
        assert caught.value.status == 307
        assert [asked.path for asked in scripted.asked] == ["/v1/audit/head"]

    def test_a_function_is_asked_for_each_call(self, scripted: Scripted) -> None:
        scripted.answers, tokens = [say(200, HEAD)], iter(["one", "two"])
        with RegistryClient(scripted.url, lambda: next(tokens)) as client:
            client.audit.head()
            client.audit.head()
        assert [asked.headers["authorization"] for asked in scripted.asked] == ["Bearer one", "Bearer two"]

    def test_without_one_none_is_sent(self, scripted: Scripted) -> None:
        scripted.answers = [say(200, HEAD)]
        with RegistryClient(scripted.url, None) as client:
            client.audit.head()
        assert "authorization" not in scripted.asked[0].headers


class TestRefusal:
    def test_it_says_what_is_wrong_and_what_to_do(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [say(409, PROBLEM)]
        with pytest.raises(Refused, match=r"^'north' is taken\. Choose another name\.$") as caught:
            client.organizations.create(NEW)
        assert caught.value.problem.title == "Conflict"

    @pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"[]", b"x" * (2 << 20)])
    def test_a_strangers_no_is_told_from_a_registrys(
        self, client: RegistryClient, scripted: Scripted, body: bytes
    ) -> None:
        scripted.answers = [say(404, body)]
        with pytest.raises(Refused, match=r"GET '/v1/audit/head' was answered 404 Not Found, and not by a registry"):
            client.audit.head()

    @pytest.mark.parametrize("answer", [say(409, PROBLEM), drop, say(200, b"x")], ids=["no", "away", "nonsense"])
    def test_it_survives_the_way_to_another_process(
        self, client: RegistryClient, scripted: Scripted, slept: list[float], answer: Answer
    ) -> None:
        scripted.answers = [answer]
        with pytest.raises(RegistryError) as caught:
            client.audit.head()
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own, of a moment ago
        assert (type(again), str(again)) == (type(caught.value), str(caught.value))
        assert slept == ([0.1, 0.5] if isinstance(caught.value, Unreachable) else [])


class TestPages:
    @staticmethod
    def _page(items: list[int], total: int, offset: int = 0) -> Answer:
        found = [{"id": number, "name": f"o{number}", "title": "O", "created_at": MADE} for number in items]
        return say(200, {"items": found, "total": total, "limit": 200, "offset": offset})

    def test_all_asks_until_it_has_everything(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [self._page([1, 2], 3), self._page([3], 3, 2)]
        assert [each.id for each in client.organizations.all()] == [1, 2, 3]
        assert [asked.path.partition("?")[2] for asked in scripted.asked] == [
            "limit=200&offset=0",
            "limit=200&offset=2",
        ]

    def test_an_empty_page_is_the_end_whatever_the_total_says(self, client: RegistryClient, scripted: Scripted) -> None:
        """Something was deleted meanwhile: no endless loop."""
        scripted.answers = [self._page([1], 5), self._page([], 5, 1)]
        assert [each.id for each in client.organizations.all()] == [1]

    def test_nothing_is_one_question(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [self._page([], 0)]
        assert list(client.organizations.all()) == []
        assert len(scripted.asked) == 1

    def test_a_filter_that_is_none_is_not_sent(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [self._page([], 0)]
        client.organizations.list(name=None, offset=3)
        client.organizations.list(name="o 1&x")
        assert [asked.path.partition("?")[2] for asked in scripted.asked] == [
            "limit=50&offset=3",
            "limit=50&offset=0&name=o+1%26x",
        ]

    def test_it_asks_for_no_more_than_is_taken_from_it(self, client: RegistryClient, scripted: Scripted) -> None:
        scripted.answers = [self._page([1, 2], 1000)]
        assert next(client.organizations.all()).id == 1
        assert len(scripted.asked) == 1


def test_a_document_is_sent_as_json(client: RegistryClient, scripted: Scripted) -> None:
    scripted.answers = [say(201, {"id": 1, "name": "north", "title": "North", "created_at": MADE})]
    assert client.organizations.create(NEW).id == 1
    (asked,) = scripted.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert json.loads(asked.body) == {"name": "north", "title": "North"}
