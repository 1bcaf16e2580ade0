"""A server listens, and what it answers leaves at once."""

import socket

import pytest

from flows.server.listening import listen


class TestListen:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_what_is_accepted_sends_at_once(self, host: str) -> None:
        with listen(host, 0) as listener, socket.create_connection((host, listener.getsockname()[1])):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_a_taken_port_is_an_error(self) -> None:
        with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", listener.getsockname()[1])
