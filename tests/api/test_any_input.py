"""Whatever the document allows, and much that it does not, may be sent to any route: no input makes the registry fall over."""

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET

from api.access.matrix import Role
from tests.api import rights
from tests.api.campaign import MakeCampaign
from tests.api.rights import COLUMNS, Right
from tests.api.scene import Scene, set_up

REVIEWED: Final = rights.read()
WITH_PARAMETERS: Final = [right for right in REVIEWED if "{" in right.path]
LITTLE: Final = settings(
    max_examples=6,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same few in every run: what they find does not depend on the day."""


@pytest.fixture(scope="module")
def scene(make_campaign: MakeCampaign) -> Iterator[Scene]:
    with make_campaign("running") as campaign:
        yield set_up(campaign)


@pytest.fixture(scope="module")
def document(scene: Scene) -> Any:
    return schemathesis.openapi.from_dict(scene.campaign.registry.app.openapi())


def _role(right: Right) -> Role:
    """Somebody whom the route lets in, so that what is sent is looked at."""
    return next(role for role in COLUMNS if role in right.allowed)


def _is_an_answer(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize("right", REVIEWED, ids=lambda right: right.route)
class TestSend:
    def test_what_the_document_says_or_nearly(self, scene: Scene, document: Any, right: Right) -> None:
        operation, role = document[right.path][right.method], _role(right)
        cases = st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )

        @LITTLE
        @given(cases)
        def send(case: Any) -> None:
            query = {key: value for key, value in (case.query or {}).items() if value is not None}
            with scene.without_trace():
                _is_an_answer(scene.send(right.route, role, content=_bytes(case.body), query=query))

        send()


@pytest.mark.parametrize("right", WITH_PARAMETERS, ids=lambda right: right.route)
class TestName:
    def test_anything_in_a_path(self, scene: Scene, right: Right) -> None:
        names = st.one_of(
            st.integers(), st.text(min_size=1), st.sampled_from(["0", "-1", "1e3", "٣", "%00", "..", "1 "])
        )

        @LITTLE
        @given(names)
        def call(name: Any) -> None:
            path = right.path
            for parameter in ("{" + part for part in right.path.split("{")[1:]):
                path = path.replace(parameter.split("}", maxsplit=1)[0] + "}", quote(str(name), safe=""))
            registry = scene.campaign.registry
            with scene.without_trace():
                _is_an_answer(registry.call(scene.party(right.route, _role(right)), right.method, path))

        call()


def _bytes(body: Any) -> bytes | None:
    if body is NOT_SET:
        return None
    return body if isinstance(body, bytes) else json.dumps(body).encode()
