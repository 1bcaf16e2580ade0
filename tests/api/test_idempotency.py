"""What an agent sends twice happens once: the same key is the same write, on every route that a site writes to."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Final

import pytest

from api.client.registry import _ROUTES
from api.schemas.border import PAYLOADS, PayloadKind
from cubes.digests import digest_bytes
from tests.api.campaign import GOOD, HEARTBEAT, Campaign

KEY: Final = "once-0001"
Payload = Callable[[Campaign, int], dict[str, Any]]


def _dataset(campaign: Campaign, number: int) -> dict[str, Any]:
    return campaign.registration(f"d{number}", root=digest_bytes(b"%d" % number)).model_dump(mode="json")


def _event(campaign: Campaign, number: int) -> dict[str, Any]:
    return campaign.event("north", "alpha", attempt=number + 1).model_dump(mode="json")


def _result(campaign: Campaign, number: int) -> dict[str, Any]:
    return campaign.result("north", "alpha", {**GOOD, "auroc": number / 10}).model_dump(mode="json")


KEPT: Final[dict[PayloadKind, tuple[Payload, str]]] = {
    PayloadKind.DATASET: (_dataset, "dataset.registered"),
    PayloadKind.EXECUTION_EVENT: (_event, "execution.running"),
    PayloadKind.RESULT: (_result, "result.received"),
}
"""Payloads whose answer is kept: how to make two that differ, and what the audit log then tells of."""
LATEST: Final = {PayloadKind.HEARTBEAT, PayloadKind.PREPARATION}
"""Of these the newest counts, however often it comes: they need no memory of their keys."""
each = pytest.mark.parametrize("kind", list(KEPT), ids=lambda kind: kind.value)


def _send(
    campaign: Campaign, kind: PayloadKind, body: dict[str, Any], key: str | None = KEY, site: str = "north"
) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return campaign.registry.call(f"site:{site}", "POST", _ROUTES[kind], json=body, headers=headers)


def _told(campaign: Campaign, kind: PayloadKind) -> int:
    return campaign.actions().count(KEPT[kind][1])


def test_every_payload_is_one_or_the_other() -> None:
    assert set(PAYLOADS) == set(KEPT) | LATEST


@each
class TestSameKey:
    def test_and_the_same_body_is_the_same_answer(self, campaign: Campaign, kind: PayloadKind) -> None:
        body, before = KEPT[kind][0](campaign, 1), _told(campaign, kind)
        answers = [_send(campaign, kind, body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201] * 3
        assert len({answer.text for answer in answers}) == 1
        assert _told(campaign, kind) == before + 1

    def test_and_another_order_of_keys_is_the_same_body(self, campaign: Campaign, kind: PayloadKind) -> None:
        body = KEPT[kind][0](campaign, 1)
        first = _send(campaign, kind, body)
        assert _send(campaign, kind, dict(reversed(body.items()))).json() == first.json()

    def test_and_another_body_is_refused(self, campaign: Campaign, kind: PayloadKind) -> None:
        _send(campaign, kind, KEPT[kind][0](campaign, 1))
        before = campaign.registry.entries()
        answer = _send(campaign, kind, KEPT[kind][0](campaign, 2))
        assert answer.status_code == 409
        assert answer.json()["detail"] == f"the idempotency key {KEY!r} was used for another body before."
        assert answer.json()["fix"] == "Use a new key for it."
        assert campaign.registry.entries() == before

    def test_after_a_refusal_it_is_free(self, campaign: Campaign, kind: PayloadKind) -> None:
        """What did not happen is not remembered: the corrected body may come under the same key."""
        body = KEPT[kind][0](campaign, 1)
        assert _send(campaign, kind, {**body, "benchmark_id": 99}).status_code == 404
        assert _send(campaign, kind, body).status_code == 201

    def test_at_the_same_moment_is_one_write(self, campaign: Campaign, kind: PayloadKind) -> None:
        body, before, barrier = KEPT[kind][0](campaign, 1), _told(campaign, kind), Barrier(4)

        def send(_: int) -> tuple[int, str]:
            barrier.wait(60)
            answer = _send(campaign, kind, body)
            return answer.status_code, answer.text

        with ThreadPoolExecutor(4) as pool:
            answers = set(pool.map(send, range(4)))
        assert [status for status, _ in answers] == [201]
        assert _told(campaign, kind) == before + 1

    def test_and_two_bodies_at_the_same_moment_is_one_of_them(self, campaign: Campaign, kind: PayloadKind) -> None:
        bodies, barrier = [KEPT[kind][0](campaign, number) for number in (1, 2)], Barrier(2)

        def send(body: dict[str, Any]) -> int:
            barrier.wait(60)
            return int(_send(campaign, kind, body).status_code)

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(send, bodies)) == [201, 409]


class TestKeys:
    def test_are_each_sites_own(self, campaign: Campaign) -> None:
        for site in ("north", "south"):
            body = campaign.registration("extra", root=digest_bytes(site.encode())).model_dump(mode="json")
            assert _send(campaign, PayloadKind.DATASET, body, site=site).status_code == 201

    @pytest.mark.parametrize("kind", list(PAYLOADS), ids=lambda kind: kind.value)
    def test_are_needed_on_every_write(self, campaign: Campaign, kind: PayloadKind) -> None:
        answer = _send(campaign, kind, {}, key=None)
        assert answer.status_code == 422
        assert "header.Idempotency-Key" in [error["where"] for error in answer.json()["errors"]]

    @pytest.mark.parametrize("key", ["short", "x" * 201, "with space", "semi;colon", "naïve-key"])
    def test_have_a_plain_form(self, campaign: Campaign, key: str) -> None:
        body: dict[str, Any] = dict(HEARTBEAT)
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        answer = campaign.registry.call("site:north", "POST", "/v1/site/heartbeats", json=body, headers=headers)
        assert answer.status_code == 422

    def test_outlive_the_registrys_process(self, campaign: Campaign) -> None:
        """They lie in the database, in the transaction of the write."""
        body = _dataset(campaign, 1)
        first = _send(campaign, PayloadKind.DATASET, body)
        campaign.registry.app.state.engine.dispose()
        assert _send(campaign, PayloadKind.DATASET, body).json() == first.json()
