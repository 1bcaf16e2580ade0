"""Downloads that break, go on, lie or never end; uploads of what is there and of what is refused."""

import hashlib
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

import pytest

from api.client import Refused, RegistryClient, Unreachable, WrongContent
from cubes.digests import digest_bytes
from tests.api.client.conftest import Answer, Scripted, drop, say

CONTENT: Final = os.urandom(1 << 17)
DIGEST: Final = digest_bytes(CONTENT)


def _start(handler: BaseHTTPRequestHandler) -> int:
    """Where the client wants to go on."""
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def part(content: bytes = CONTENT, *, most: int | None = None) -> Answer:
    """As a registry answers, ranges included; `most` breaks the connection after so many bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = _start(handler)
        rest = content[start:]
        if start and not rest:
            say(416, b"")(handler)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        handler.wfile.write(rest[:most])
        handler.close_connection = most is not None

    return answer


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "pack.tar"


@pytest.fixture
def left(target: Path) -> Callable[[], list[str]]:
    """What lies where the file is wanted."""
    return lambda: sorted(path.name for path in target.parent.iterdir())


def _ranges(scripted: Scripted) -> list[str]:
    return [asked.headers.get("range", "") for asked in scripted.asked]


class TestDownload:
    def test_it_appears_whole(
        self, client: RegistryClient, scripted: Scripted, target: Path, left: Callable[[], list[str]]
    ) -> None:
        scripted.answers = [part()]
        client.blobs.download(DIGEST, target)
        assert target.read_bytes() == CONTENT
        assert left() == [target.name]
        (asked,) = scripted.asked
        assert (asked.path, asked.headers["accept-encoding"]) == (f"/v1/blobs/{DIGEST}", "identity")

    def test_nothing_at_all_is_a_file_too(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        scripted.answers = [part(b"")]
        client.blobs.download(digest_bytes(b""), target)
        assert target.read_bytes() == b""

    def test_what_was_there_before_is_replaced(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        target.write_bytes(b"old")
        scripted.answers = [part()]
        client.blobs.download(DIGEST, target)
        assert target.read_bytes() == CONTENT


class TestGoOn:
    def test_where_it_broke(self, client: RegistryClient, scripted: Scripted, target: Path, slept: list[float]) -> None:
        scripted.answers = [part(most=1000), part(most=500), part()]
        client.blobs.download(DIGEST, target)
        assert target.read_bytes() == CONTENT
        assert _ranges(scripted) == ["", "bytes=1000-", "bytes=1500-"]
        assert slept == [0.5, 0.5]

    def test_as_often_as_it_gets_further(
        self, client: RegistryClient, scripted: Scripted, target: Path, slept: list[float]
    ) -> None:
        """A line that breaks every minute must not keep a large model from arriving."""
        scripted.answers = [*(part(most=10_000) for _ in range(12)), part()]
        client.blobs.download(DIGEST, target)
        assert target.read_bytes() == CONTENT
        assert slept == [0.5] * 12

    @pytest.mark.parametrize("answer", [drop, say(503)], ids=["broken connection", "503"])
    def test_not_for_ever(
        self,
        client: RegistryClient,
        scripted: Scripted,
        target: Path,
        slept: list[float],
        left: Callable[[], list[str]],
        answer: Answer,
    ) -> None:
        scripted.answers = [part(most=1000), answer]
        with pytest.raises(Unreachable):
            client.blobs.download(DIGEST, target)
        assert slept == [0.5, 1.0, 2.0, 4.0]
        assert left() == []

    def test_after_a_while_that_is_not_so_long(
        self, client: RegistryClient, scripted: Scripted, target: Path, slept: list[float]
    ) -> None:
        scripted.answers = [part(most=1000), drop, say(503), part(most=1000), drop, part()]
        client.blobs.download(DIGEST, target)
        assert target.read_bytes() == CONTENT
        assert slept == [0.5, 1.0, 2.0, 0.5, 1.0]

    def test_a_registry_that_is_away_is_said_at_once(
        self, client: RegistryClient, scripted: Scripted, target: Path, slept: list[float]
    ) -> None:
        scripted.answers = [drop]
        with pytest.raises(Unreachable):
            client.blobs.download(DIGEST, target)
        assert (len(scripted.asked), slept) == (1, [])


@pytest.mark.usefixtures("slept")
class TestRefuse:
    """Whatever is wrong: an error that says so, and what was there before."""

    @pytest.fixture(autouse=True)
    def _what_was_there_stays(self, target: Path, left: Callable[[], list[str]]) -> object:
        target.write_bytes(b"before")
        yield
        assert target.read_bytes() == b"before"
        assert left() == [target.name]

    def test_other_bytes(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
        scripted.answers = [part(other)]
        with pytest.raises(WrongContent, match=f"wanted {DIGEST}, got {digest_bytes(other)}"):
            client.blobs.download(DIGEST, target)

    def test_other_bytes_behind_the_same_address_when_it_goes_on(
        self, client: RegistryClient, scripted: Scripted, target: Path
    ) -> None:
        other = hashlib.sha512(CONTENT).digest() * (len(CONTENT) // 64)
        scripted.answers = [part(most=1000), part(other)]
        with pytest.raises(WrongContent, match=f"got {digest_bytes(CONTENT[:1000] + other[1000:])}"):
            client.blobs.download(DIGEST, target)

    def test_one_that_begins_again_instead_of_going_on(
        self, client: RegistryClient, scripted: Scripted, target: Path
    ) -> None:
        scripted.answers = [part(most=1000), say(200, CONTENT)]
        with pytest.raises(WrongContent, match="does not go on with"):
            client.blobs.download(DIGEST, target)

    def test_one_that_lost_its_end(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        """It says the length of the whole and has half of it: going on, there is nothing more."""
        half = CONTENT[:1000]
        scripted.answers = [part(most=1000), part(half)]
        with pytest.raises(Refused) as caught:
            client.blobs.download(DIGEST, target)
        assert caught.value.status == 416

    @pytest.mark.parametrize("length", [0, 1, 999])
    def test_fewer_bytes(self, client: RegistryClient, scripted: Scripted, target: Path, length: int) -> None:
        scripted.answers = [part(CONTENT[:length])]
        with pytest.raises(WrongContent):
            client.blobs.download(DIGEST, target)

    def test_more_bytes(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        scripted.answers = [part(CONTENT + b"x")]
        with pytest.raises(WrongContent):
            client.blobs.download(DIGEST, target)

    def test_more_than_this_client_takes(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        """An answer without an end, in pieces that say no length of the whole."""
        sent: list[int] = []

        def endless(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            while len(sent) < 1000:
                handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent.append(0x10000)

        scripted.answers = [endless]
        with pytest.raises(WrongContent, match=str(1 << 20)):
            client.blobs.download(DIGEST, target)
        scripted.let_go.set()
        assert len(sent) < 1000

    def test_a_page_in_its_place(self, client: RegistryClient, scripted: Scripted, target: Path) -> None:
        scripted.answers = [say(200, b"<html>Welcome to the hospital's guest network</html>")]
        with pytest.raises(WrongContent):
            client.blobs.download(DIGEST, target)

    @pytest.mark.parametrize("status", [401, 403, 404, 500])
    def test_a_no(self, client: RegistryClient, scripted: Scripted, target: Path, status: int) -> None:
        scripted.answers = [say(status)]
        with pytest.raises(Refused):
            client.blobs.download(DIGEST, target)
        assert len(scripted.asked) == 1


class TestUpload:
    def test_it_goes_out_whole_with_its_length(
        self, client: RegistryClient, scripted: Scripted, tmp_path: Path
    ) -> None:
        (tmp_path / "pack").write_bytes(CONTENT)
        scripted.answers, told = [say(201, {})], list[int]()
        assert client.blobs.upload(tmp_path / "pack", progress=told.append) == DIGEST
        (asked,) = scripted.asked
        assert (asked.method, asked.path, asked.body) == ("PUT", f"/v1/blobs/{DIGEST}", CONTENT)
        assert asked.headers["content-length"] == str(len(CONTENT))
        assert sum(told) == len(CONTENT)

    def test_one_that_is_too_large_is_not_sent(
        self, client: RegistryClient, scripted: Scripted, tmp_path: Path
    ) -> None:
        (tmp_path / "pack").write_bytes(bytes((1 << 20) + 1))
        with pytest.raises(WrongContent, match=r"pack.*1048576"):
            client.blobs.upload(tmp_path / "pack")
        assert scripted.asked == []

    @pytest.mark.parametrize("answer", [drop, say(502)], ids=["broken connection", "502"])
    def test_one_that_broke_is_sent_again_by_whoever_wants_it(
        self, client: RegistryClient, scripted: Scripted, tmp_path: Path, slept: list[float], answer: Answer
    ) -> None:
        (tmp_path / "pack").write_bytes(CONTENT)
        scripted.answers = [answer, say(201, {})]
        with pytest.raises(Unreachable):
            client.blobs.upload(tmp_path / "pack")
        assert (len(scripted.asked), slept) == (1, [])
        assert client.blobs.upload(tmp_path / "pack") == DIGEST
