"""The key with which a place signs."""

from pathlib import Path

import pytest

from agents.bundles import keys
from agents.bundles.keys import signing_key
from tests.meanwhile import second_at


def test_two_who_make_it_at_once_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secrets" / "bundle.key"
    second = second_at(monkeypatch, keys, "write_private", lambda: signing_key(path))
    first = signing_key(path)
    assert first.public_pem == second.result(60).public_pem == signing_key(path).public_pem
