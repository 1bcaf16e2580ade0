"""How the servers of an agent and of a registry listen."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """A socket on which a web server accepts connections, whose answers leave at once.

    An event loop sets `TCP_NODELAY` on sockets that say that they are TCP, which those accepted here do not: the second
    part of each answer, its body, would wait 40 ms for the client to acknowledge the first.

    Args:
        host: a name or an address, of either family.
        port: zero chooses a free one.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=512)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits it
    return listener
