"""Blobs at the registry: whole and right or not at all, whoever sends what; and read from anywhere on."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import httpx2
import pytest

from api.client import Refused, RegistryClient
from api.core.limits import UPLOADS
from api.nouns.blobs.store import BlobStore
from cubes.digests import digest_bytes
from tests.api.world import Registry
from tests.cli.federation import listening

CONTENT: Final = bytes(range(256)) * 40
DIGEST: Final = digest_bytes(CONTENT)


def _put(registry: Registry, content: Any = CONTENT, digest: str = DIGEST, party: str = "stranger") -> Any:
    return registry.call(party, "PUT", f"{UPLOADS}{digest}", content=content)


def _get(registry: Registry, party: str = "stranger", **headers: str) -> Any:
    return registry.call(party, "GET", f"{UPLOADS}{DIGEST}", headers=headers)


def _files(registry: Registry) -> list[str]:
    """Every file below the folder of blobs, half ones included."""
    return sorted(path.name for path in registry.settings.blobs.rglob("*") if path.is_file())


@pytest.fixture
def sent(registry: Registry) -> Registry:
    """The stranger has sent one."""
    assert _put(registry).status_code == 201
    return registry


class TestUpload:
    def test_it_lies_there_read_only_under_its_digest(self, sent: Registry) -> None:
        name = DIGEST.removeprefix("sha256:")
        (path,) = sent.settings.blobs.rglob(name)
        assert path.read_bytes() == CONTENT
        assert path.stat().st_mode & 0o777 == 0o400

    def test_again_is_the_same_and_told_once(self, sent: Registry) -> None:
        before, files = sent.entries(), _files(sent)
        assert _put(sent).json() == {"digest": DIGEST, "size": len(CONTENT)}
        assert (sent.entries(), _files(sent)) == (before, files)

    def test_by_another_person_is_another_upload_of_one_file(self, sent: Registry) -> None:
        files = _files(sent)
        assert _get(sent, "model_owner").status_code == 404
        assert _put(sent, party="model_owner").status_code == 201
        assert _get(sent, "model_owner").content == CONTENT
        assert _files(sent) == files

    def test_at_the_same_moment_by_several_people(self, registry: Registry) -> None:
        people, barrier = ("stranger", "model_owner", "data_owner", "benchmark_owner"), Barrier(4)

        def send(party: str) -> int:
            barrier.wait(60)
            return int(_put(registry, party=party).status_code)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(send, people)) == [201] * 4
        assert all(_get(registry, party).content == CONTENT for party in people)
        assert len({entry.actor for entry in _uploads(registry)}) == 4

    def test_of_nothing(self, registry: Registry) -> None:
        assert _put(registry, b"", digest_bytes(b"")).json()["size"] == 0

    def test_in_pieces_without_a_length(self, registry: Registry) -> None:
        assert _put(registry, (CONTENT[n : n + 1000] for n in range(0, len(CONTENT), 1000))).status_code == 201
        assert _get(registry).content == CONTENT


class TestLeftOvers:
    def test_of_interrupted_uploads_go_and_others_stay(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store, incoming, listed = BlobStore(tmp_path), tmp_path / "incoming", Path.iterdir
        for name in ("ended", "left", "young"):
            (incoming / name).write_bytes(b"x")
        os.utime(incoming / "left", (0, 0))

        def iterdir(folder: Path) -> Iterator[Path]:
            found = sorted(listed(folder))
            (folder / "ended").unlink()  # another process's upload is whole, and moves to its place
            return iter(found)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "iterdir", iterdir)
            store.discard_left_overs()
        assert [path.name for path in incoming.iterdir()] == ["young"]


class TestRefuse:
    """Nothing is kept, and nothing is told."""

    @pytest.fixture(autouse=True)
    def _nothing_is_kept(self, registry: Registry) -> Iterator[None]:
        files, entries = _files(registry), registry.entries()
        yield
        assert (_files(registry), registry.entries()) == (files, entries)

    @pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", b"other"])
    def test_other_bytes_than_the_digest_says(self, registry: Registry, content: bytes) -> None:
        answer = _put(registry, content)
        assert answer.status_code == 422
        assert answer.json()["detail"] == f"what was sent is {digest_bytes(content)}, not {DIGEST}."
        assert answer.json()["fix"] == "Compute the digest again and send the file whole."

    @pytest.mark.parametrize(
        "digest", ["sha256:0", "md5:" + "0" * 32, DIGEST.upper(), "..%2F..%2Fkey", "sha256:" + "g" * 64]
    )
    def test_what_is_no_digest(self, registry: Registry, digest: str) -> None:
        assert _put(registry, digest=digest).status_code in {404, 422}

    def test_more_than_is_taken_in_pieces(self, registry: Registry) -> None:
        """The length is found out on the way."""
        pieces = (bytes(65_536) for _ in range(1 + registry.settings.max_blob_bytes // 65_536))
        assert _put(registry, pieces).status_code == 413

    @pytest.mark.parametrize(("party", "status"), [("anyone", 401), ("site:north", 403), ("service", 403)])
    def test_whoever_brings_none(self, registry: Registry, party: str, status: int) -> None:
        assert _put(registry, party=party).status_code == status


class TestRange:
    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("bytes=0-9", CONTENT[:10]),
            ("bytes=1000-", CONTENT[1000:]),
            ("bytes=-7", CONTENT[-7:]),
            (f"bytes=5-{len(CONTENT) * 2}", CONTENT[5:]),
        ],
    )
    def test_a_part(self, sent: Registry, wanted: str, found: bytes) -> None:
        answer = _get(sent, Range=wanted)
        assert (answer.status_code, answer.content) == (206, found)
        assert answer.headers["etag"] == f'"{DIGEST}"'

    def test_beyond_the_end(self, sent: Registry) -> None:
        assert _get(sent, Range=f"bytes={len(CONTENT)}-").status_code == 416

    def test_what_nobody_may_have_has_no_part_either(self, sent: Registry) -> None:
        answer = _get(sent, "model_owner", Range="bytes=0-0")
        assert (answer.status_code, len(answer.content) > 1) == (404, True)


class TestNetwork:
    """A registry that really listens, and a connection that really breaks."""

    @pytest.fixture
    def url(self, registry: Registry) -> Iterator[str]:
        with listening(registry.settings) as url:
            yield url

    @pytest.fixture
    def client(self, registry: Registry, url: str) -> Iterator[RegistryClient]:
        with RegistryClient(url, registry.tokens["stranger"]) as client:
            yield client

    def test_an_upload_that_broke_leaves_nothing_and_may_be_sent_again(
        self, registry: Registry, url: str, client: RegistryClient, tmp_path: Path, until: Any
    ) -> None:
        files = _files(registry)

        def breaks() -> Iterator[bytes]:
            yield CONTENT[:5000]
            until(lambda: _files(registry) != files, "the registry to have begun")
            raise ConnectionResetError

        headers = {"Authorization": f"Bearer {registry.tokens['stranger']}", "Content-Length": str(len(CONTENT))}
        with httpx2.Client(trust_env=False) as raw, pytest.raises(ConnectionResetError):
            raw.put(f"{url}{UPLOADS}{DIGEST}", content=breaks(), headers=headers)
        until(lambda: _files(registry) == files, "what came of it to go")
        (tmp_path / "pack").write_bytes(CONTENT)
        assert client.blobs.upload(tmp_path / "pack") == DIGEST
        client.blobs.download(DIGEST, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == CONTENT

    def test_a_refusal_comes_through_while_the_body_is_still_being_sent(
        self, registry: Registry, client: RegistryClient, tmp_path: Path
    ) -> None:
        (tmp_path / "pack").write_bytes(bytes(registry.settings.max_blob_bytes + 1))
        with pytest.raises(Refused, match="the body is larger than") as caught:
            client.blobs.upload(tmp_path / "pack")
        assert caught.value.status == 413


def _uploads(registry: Registry) -> list[Any]:
    return registry.client_of("administrator").audit.entries(limit=200, action="blob.uploaded").items
