"""Whom a connection trusts."""

import ssl

import pytest

from api.client.trust import trust_for


class TestTrust:
    @pytest.mark.parametrize(
        "url", ["https://registry.example", "HTTPS://registry.example:8420/api", "registry.example"]
    )
    def test_whatever_may_be_encrypted_is_verified(self, url: str) -> None:
        assert trust_for(url) is True

    def test_an_address_without_encryption_trusts_nobody(self) -> None:
        trust = trust_for("http://127.0.0.1:8420")
        assert isinstance(trust, ssl.SSLContext)
        assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert trust.cert_store_stats()["x509"] == 0
