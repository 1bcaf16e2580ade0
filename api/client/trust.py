"""Whom a connection trusts."""

import ssl
from urllib.parse import urlsplit


def trust_for(url: str) -> ssl.SSLContext | bool:
    """What a client of one address verifies with: the system's certificates, where the address is encrypted.

    Loading them takes a tenth of a second, which an address without encryption needs not wait for: its client trusts
    nobody, so that it could not be led to an encrypted one either.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if urlsplit(url).scheme == "http" else True
