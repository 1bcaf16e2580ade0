"""A bundle is what was written, to the bit, by somebody who is trusted; or it is refused and leaves nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.bundles.container import BundleManifest, Part, read_bundle, write_bundle
from agents.bundles.errors import BundleDamagedError, BundleError, BundleForgedError, BundleRefusedError
from agents.bundles.keys import SigningKey, signing_key
from agents.errors import HomeError
from cubes.digests import digest_bytes

BLOBS = {digest_bytes(content): content for content in (b"", b"weights" * 100, b"labels")}


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return signing_key(tmp_path / "secrets" / "bundle.key")


def _manifest(**changes: object) -> BundleManifest:
    parts = [Part(role="cube", digest=digest, size=len(content)) for digest, content in BLOBS.items()]
    values = {"kind": "work", "site": "north", "written_at": datetime.now(UTC), "content": {"a": 1}, "parts": parts}
    return BundleManifest.model_validate({**values, **changes})


def _blobs(part: Part) -> Iterator[bytes]:
    return iter([BLOBS[part.digest]])


@pytest.fixture
def bundle(tmp_path: Path, key: SigningKey) -> Path:
    write_bundle(tmp_path / "work.bundle", _manifest(), _blobs, key)
    return tmp_path / "work.bundle"


class TestRoundTrip:
    def test_what_was_written_is_read(self, bundle: Path, key: SigningKey, tmp_path: Path) -> None:
        manifest, digest = read_bundle(bundle, [key.public_pem], tmp_path / "blobs")
        assert manifest.content == {"a": 1}
        assert digest.startswith("sha256:")
        found = {f"sha256:{path.name}": path.read_bytes() for path in (tmp_path / "blobs").iterdir()}
        assert found == BLOBS

    def test_the_same_content_has_the_same_digest(self, tmp_path: Path, key: SigningKey) -> None:
        manifest = _manifest()
        digests = {write_bundle(tmp_path / name, manifest, _blobs, key) for name in ("a", "b")}
        assert len(digests) == 1
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_nothing_is_replaced(self, bundle: Path, key: SigningKey) -> None:
        before = bundle.read_bytes()
        with pytest.raises(BundleRefusedError, match="there already"):
            write_bundle(bundle, _manifest(), _blobs, key)
        assert bundle.read_bytes() == before

    def test_a_blob_that_changed_meanwhile_leaves_no_file(self, tmp_path: Path, key: SigningKey) -> None:
        with pytest.raises(BundleDamagedError, match="changed while it was written"):
            write_bundle(tmp_path / "x", _manifest(), lambda _part: iter([b"other"]), key)
        assert {path.name for path in tmp_path.iterdir()} == {"secrets"}


class TestTamper:
    def test_one_bit_anywhere(self, bundle: Path, key: SigningKey, tmp_path: Path) -> None:
        """Every byte of the file, one of its bits each."""
        whole = bundle.read_bytes()
        for number in range(len(whole)):
            changed = bytearray(whole)
            changed[number] ^= 1 << (number % 8)
            bundle.write_bytes(changed)
            with pytest.raises(BundleError):
                read_bundle(bundle, [key.public_pem], tmp_path / "blobs")
            assert not (tmp_path / "blobs").exists()

    @pytest.mark.parametrize("cut", [1, 7, 64, 300, 700])
    def test_an_end_that_is_missing(self, bundle: Path, key: SigningKey, tmp_path: Path, cut: int) -> None:
        bundle.write_bytes(bundle.read_bytes()[:-cut])
        with pytest.raises(BundleError):
            read_bundle(bundle, [key.public_pem], tmp_path / "blobs")

    def test_an_end_that_goes_on(self, bundle: Path, key: SigningKey, tmp_path: Path) -> None:
        bundle.write_bytes(bundle.read_bytes() + b"x")
        with pytest.raises(BundleDamagedError, match="after its end"):
            read_bundle(bundle, [key.public_pem], tmp_path / "blobs")

    def test_a_blob_from_another_bundle(self, bundle: Path, key: SigningKey, tmp_path: Path) -> None:
        whole = bundle.read_bytes()
        bundle.write_bytes(whole.replace(b"labels", b"LABELS"))
        with pytest.raises(BundleDamagedError, match="damaged"):
            read_bundle(bundle, [key.public_pem], tmp_path / "blobs")

    @pytest.mark.parametrize("content", [b"", b"ASSAY-BUNDLE-1\n", b"\x89PNG", b"ASSAY-BUNDLE-1\n" + b"9" * 20 + b"\n"])
    def test_something_else(self, bundle: Path, key: SigningKey, tmp_path: Path, content: bytes) -> None:
        bundle.write_bytes(content)
        with pytest.raises(BundleError):
            read_bundle(bundle, [key.public_pem], tmp_path / "blobs")


class TestTrust:
    def test_another_key(self, bundle: Path, tmp_path: Path) -> None:
        other = signing_key(tmp_path / "other.key")
        with pytest.raises(BundleForgedError, match="signed by no key that is trusted"):
            read_bundle(bundle, [other.public_pem], tmp_path / "blobs")

    def test_no_key(self, bundle: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleForgedError, match="none"):
            read_bundle(bundle, [], tmp_path / "blobs")

    def test_a_key_is_made_once_and_closed_to_others(self, tmp_path: Path, key: SigningKey) -> None:
        path = tmp_path / "secrets" / "bundle.key"
        assert signing_key(path).public_pem == key.public_pem
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        with pytest.raises(HomeError, match="chmod 600"):
            signing_key(path)

    def test_a_file_that_holds_none(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.touch(mode=0o600)
        path.write_text("not a key")
        with pytest.raises(HomeError, match="holds no signing key"):
            signing_key(path)
