"""Which host is this machine."""

import pytest

from agents.hosts import is_here


class TestIsHere:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
    def test_is_this_machine(self, host: str) -> None:
        assert is_here(host)

    @pytest.mark.parametrize(
        "host", ["", "registry.example", "10.0.0.1", "localhost.example", "127.0.0.1.example", "::2", "192.0.2.1"]
    )
    def test_is_another(self, host: str) -> None:
        assert not is_here(host)
