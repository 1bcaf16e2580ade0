"""Signatures in both forms, by real keys: what was signed, by whom, and about which image."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agents.images.documents import OCI
from agents.images.errors import SignatureError
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.signature_search import find_signatures
from agents.images.signatures import SignedPayload, parse_bundle, require_signature, signed_payload
from agents.images.trust import Demand, ImageTrust
from cubes.contract import Contract, parse_contract
from cubes.digests import digest_bytes
from cubes.image_reference import ImageReference
from cubes.public_keys import fingerprint, public_key
from tests.small_images import Image, ImageRegistry, make_image

DIGEST = "sha256:" + "a" * 64
Sign = Callable[[bytes], bytes]


def _pem(key: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode())


def _simple(digest: str, kind: str = "cosign container image signature") -> bytes:
    critical = {"identity": {"docker-reference": "any/name"}, "image": {"docker-manifest-digest": digest}, "type": kind}
    return json.dumps({"critical": critical, "optional": None}).encode()


def _statement(digest: str) -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "", "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        }
    ).encode()


def _pae(payload: bytes) -> bytes:
    kind = b"application/vnd.in-toto+json"
    return b"DSSEv1 " + str(len(kind)).encode() + b" " + kind + b" " + str(len(payload)).encode() + b" " + payload


class Signer:
    """Somebody with a key."""

    def __init__(self, key: Any = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.pem = _pem(self.key)

    def sign(self, data: bytes) -> str:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return base64.b64encode(self.key.sign(data)).decode()
        return base64.b64encode(self.key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    def simple(self, digest: str) -> SignedPayload:
        payload = _simple(digest)
        found = signed_payload("simple", payload, self.sign(payload))
        assert found is not None
        return found

    def bundle(self, digest: str) -> bytes:
        payload = _statement(digest)
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": self.sign(_pae(payload))}],
        }
        return json.dumps(
            {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope}
        ).encode()

    def dsse(self, digest: str) -> SignedPayload:
        found = parse_bundle(self.bundle(digest))
        assert found is not None
        return found


@pytest.fixture
def signer() -> Signer:
    return Signer()


class TestVerify:
    @pytest.mark.parametrize("form", ["simple", "dsse"])
    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ],
    )
    def test_by_a_key_that_is_trusted(self, form: str, key: Any) -> None:
        signer = Signer(key)
        assert require_signature(
            "m", DIGEST, [getattr(signer, form)(DIGEST)], [Signer().pem, signer.pem]
        ) == fingerprint(signer.pem)

    @pytest.mark.parametrize("form", ["simple", "dsse"])
    def test_by_another_key(self, signer: Signer, form: str) -> None:
        with pytest.raises(SignatureError, match="signed by no key that is trusted") as caught:
            require_signature("m", DIGEST, [getattr(Signer(), form)(DIGEST)], [signer.pem])
        assert "1 signature(s) found, 1 of them about this image" in str(caught.value)

    @pytest.mark.parametrize("form", ["simple", "dsse"])
    def test_of_another_image(self, signer: Signer, form: str) -> None:
        """The signature is good, and says nothing about this one."""
        other = getattr(signer, form)("sha256:" + "b" * 64)
        with pytest.raises(SignatureError, match="0 of them about this image"):
            require_signature("m", DIGEST, [other], [signer.pem])

    @pytest.mark.parametrize("form", ["simple", "dsse"])
    def test_a_changed_payload(self, signer: Signer, form: str) -> None:
        signed = getattr(signer, form)("sha256:" + "b" * 64)
        moved = signed.payload.replace(b"b" * 64, b"a" * 64)
        changed = SignedPayload.model_validate(
            {"form": form, "payload": base64.b64encode(moved), "signature": base64.b64encode(signed.signature)}
        )
        with pytest.raises(SignatureError, match="1 of them about this image"):
            require_signature("m", DIGEST, [changed], [signer.pem])

    def test_a_simple_signature_does_not_pass_for_an_envelope(self, signer: Signer) -> None:
        payload = _statement(DIGEST)
        forged = signed_payload("dsse", payload, signer.sign(payload))
        assert forged is not None
        with pytest.raises(SignatureError):
            require_signature("m", DIGEST, [forged], [signer.pem])

    @pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"null", b'{"critical": 1}', b"[" * 100_000])
    @pytest.mark.parametrize("form", ["simple", "dsse"])
    def test_nonsense_is_about_nothing(self, signer: Signer, form: Any, payload: bytes) -> None:
        signed = signed_payload(form, payload, signer.sign(payload))
        assert signed is not None
        assert not signed.names(DIGEST)

    def test_nobody_is_trusted(self, signer: Signer) -> None:
        with pytest.raises(SignatureError, match="none"):
            require_signature("m", DIGEST, [signer.simple(DIGEST)], [])


class TestKeys:
    def test_a_fingerprint_is_of_the_key_and_not_of_its_spelling(self, signer: Signer) -> None:
        assert fingerprint(signer.pem) == fingerprint("\n" + signer.pem.replace("\n", "\r\n"))

    @pytest.mark.parametrize(
        ("pem", "said"),
        [
            ("", "no public key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
            (_pem(rsa.generate_private_key(65537, 2048)), "of a kind"),
            (_pem(ec.generate_private_key(ec.SECP521R1())), "of a kind"),
        ],
    )
    def test_other_kinds_are_refused(self, pem: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            public_key(pem)


class _Signed:
    """An image in a registry, and ways to sign it there."""

    def __init__(self, registry: ImageRegistry) -> None:
        self.registry, self.image = registry, make_image([("a", {}, b"1")])
        self.reference = registry.push(self.image).pinned(self.image.digest)

    def tag(self, signer: Signer, digest: str = "") -> None:
        signed = signer.simple(digest or self.image.digest)
        notes = {"dev.cosignproject.cosign/signature": base64.b64encode(signed.signature).decode()}
        kind = "application/vnd.dev.cosign.simplesigning.v1+json"
        self._put(signed.payload, kind, notes, self.image.digest.replace(":", "-") + ".sig")

    def refer(self, signer: Signer) -> None:
        kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
        manifest = self._put(signer.bundle(self.image.digest), kind, {}, "bundle")
        self.registry.manifests[f"org/model:{digest_bytes(manifest)}"] = manifest
        index = {
            "mediaType": OCI + "index.v1+json",
            "manifests": [{"digest": digest_bytes(manifest), "size": len(manifest)}],
        }
        self.registry.manifests[f"org/model:{self.image.digest.replace(':', '-')}"] = json.dumps(index).encode()

    def _put(self, blob: bytes, kind: str, notes: dict[str, str], tag: str) -> bytes:
        self.registry.blobs[digest_bytes(blob)] = blob
        layer = {"mediaType": kind, "digest": digest_bytes(blob), "size": len(blob), "annotations": notes}
        empty = {"mediaType": "application/json", "digest": digest_bytes(b"{}"), "size": 2}
        manifest = json.dumps({"config": empty, "layers": [layer]}).encode()
        self.registry.manifests[f"org/model:{tag}"] = manifest
        return manifest


@pytest.fixture
def signed(registry: ImageRegistry) -> _Signed:
    return _Signed(registry)


class TestFind:
    @pytest.mark.parametrize("form", ["tag", "refer"])
    def test_in_either_form(self, signed: _Signed, signer: Signer, access: RegistryAccess, form: str) -> None:
        getattr(signed, form)(signer)
        with closing(RegistrySource(signed.reference, access)) as source:
            (found,) = find_signatures(source, signed.image.digest)
        assert require_signature("m", signed.image.digest, [found], [signer.pem])

    def test_an_unsigned_image_has_none(self, signed: _Signed, access: RegistryAccess) -> None:
        with closing(RegistrySource(signed.reference, access)) as source:
            assert find_signatures(source, signed.image.digest) == ()

    def test_a_tampered_payload_is_left_out(self, signed: _Signed, signer: Signer, access: RegistryAccess) -> None:
        signed.tag(signer)
        payload = signer.simple(signed.image.digest).payload
        signed.registry.blobs[digest_bytes(payload)] = payload + b" "
        with closing(RegistrySource(signed.reference, access)) as source:
            assert find_signatures(source, signed.image.digest) == ()

    @pytest.mark.parametrize("junk", [b"", b"{", b'{"layers": 5}', b'{"manifests": [1]}'])
    def test_junk_is_left_out(self, signed: _Signed, access: RegistryAccess, junk: bytes) -> None:
        for tag in (signed.image.digest.replace(":", "-"), signed.image.digest.replace(":", "-") + ".sig"):
            signed.registry.manifests[f"org/model:{tag}"] = junk
        with closing(RegistrySource(signed.reference, access)) as source:
            assert find_signatures(source, signed.image.digest) == ()


def _contract(image: ImageReference | str, kind: str = "DockerImage") -> Contract:
    return parse_contract(
        f"container_type: {kind}\nimage: {image}\ntasks: {{infer: {{"
        "input_volumes: {data_path: {mount_path: /i, type: directory}},"
        "output_volumes: {output_path: {mount_path: /o, type: directory}}}}"
    )


class TestTrust:
    @pytest.fixture
    def trust(self, tmp_path: Path, access: RegistryAccess) -> ImageTrust:
        return ImageTrust(tmp_path / "signatures", lambda reference: closing(RegistrySource(reference, access)))

    def test_each_demand_is_met_by_itself(self, trust: ImageTrust, signed: _Signed, signer: Signer) -> None:
        signed.tag(signer)
        other = Signer()
        demands = [Demand("this site", (signer.pem,)), Demand("the benchmark 'b'", (other.pem,))]
        with pytest.raises(SignatureError, match="the benchmark 'b' asks for a signature"):
            trust.check(_contract(signed.reference), demands)
        signed.refer(other)
        signers = trust.check(_contract(signed.reference), demands)
        assert signers == (fingerprint(signer.pem), fingerprint(other.pem))

    def test_what_was_found_is_kept_and_verified_again(
        self, trust: ImageTrust, signed: _Signed, signer: Signer
    ) -> None:
        signed.tag(signer)
        trust.check(_contract(signed.reference), [Demand("this site", (signer.pem,))])
        signed.registry.manifests.clear()
        trust.check(_contract(signed.reference), [Demand("this site", (signer.pem,))])
        with pytest.raises(SignatureError):
            trust.check(_contract(signed.reference), [Demand("this site", (Signer().pem,))])

    def test_an_unsigned_image_is_refused(self, trust: ImageTrust, signed: _Signed, signer: Signer) -> None:
        with pytest.raises(SignatureError, match=r"0 signature\(s\) found"):
            trust.check(_contract(signed.reference), [Demand("this site", (signer.pem,))])

    def test_nobody_asks(self, trust: ImageTrust, signed: _Signed) -> None:
        assert trust.check(_contract(signed.reference), []) == ()
        assert signed.registry.requests == []

    def test_an_archive_cannot_be_signed(self, trust: ImageTrust, signer: Signer) -> None:
        with pytest.raises(SignatureError, match="carries no signature"):
            trust.check(_contract("image.tar", "DockerArchive"), [Demand("this site", (signer.pem,))])


def test_an_image_is_what_it_was_before(signed: _Signed) -> None:
    """A signature is stored beside an image, and changes nothing of it."""
    image: Image = signed.image
    before = image.digest
    signed.tag(Signer())
    assert image.digest == before
