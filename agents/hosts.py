"""Which host is meant."""

import ipaddress


def is_here(host: str) -> bool:
    """Whether a name or address, without its port, is this very machine's own: nobody is on the way there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
