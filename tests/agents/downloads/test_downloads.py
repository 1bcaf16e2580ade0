"""Files from outside: resumed where they broke off, no larger than allowed, and what their digest says or nothing."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.cube_store import CubeStore, CubeUnavailableError
from agents.downloads.cache import Downloads
from agents.downloads.errors import DownloadFailedError, DownloadRefusedError, DownloadTamperedError
from api.schemas.cubes import CubeKind, CubeRef
from cubes.digests import digest_bytes
from cubes.packing import pack_folder
from tests.watching import goes_meanwhile

CONTENT = bytes(range(256)) * 4096
DIGEST = digest_bytes(CONTENT)
GIB = 1 << 30
Make = Callable[..., Downloads]


@pytest.fixture(autouse=True)
def _weights(server: Any) -> None:
    server.files["/weights"] = CONTENT


def _left(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "kept").glob("*") if path.suffix != ".lock")


class TestGet:
    def test_a_file_is_fetched_once(self, downloads: Make, server: Any) -> None:
        files = downloads()
        path = files.get(f"{server.url}/weights", DIGEST)
        assert path.read_bytes() == CONTENT
        assert path.stat().st_mode & 0o077 == 0
        assert files.get("https://elsewhere.example/same", DIGEST) == path
        assert len(server.asked) == 1

    def test_a_damaged_copy_is_fetched_again(self, downloads: Make, server: Any) -> None:
        path = downloads().get(f"{server.url}/weights", DIGEST)
        path.write_bytes(b"damaged")
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT


class TestResume:
    def test_it_goes_on_where_it_broke_off(self, downloads: Make, server: Any) -> None:
        server.breaks_after = [1000, 5000]
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT
        assert [wanted for _, wanted, _ in server.asked] == ["", "bytes=1000-", "bytes=6000-"]

    def test_over_https(self, downloads: Make, encrypted: Any) -> None:
        encrypted.files["/weights"] = CONTENT
        encrypted.breaks_after = [1000]
        assert downloads().get(f"{encrypted.url}/weights", DIGEST).read_bytes() == CONTENT
        assert [wanted for _, wanted, _ in encrypted.asked] == ["", "bytes=1000-"]

    def test_not_with_a_certificate_that_nobody_vouches_for(
        self, downloads: Make, encrypted: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(DownloadFailedError, match="CERTIFICATE_VERIFY_FAILED"):
            downloads().get(f"{encrypted.url}/weights", DIGEST)
        assert encrypted.asked == []

    def test_also_in_another_process(self, downloads: Make, server: Any) -> None:
        server.breaks_after = [1000] * 3
        with pytest.raises(DownloadFailedError, match=r"goes on there|try again"):
            downloads().get(f"{server.url}/weights", DIGEST)
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT
        assert server.asked[-1][1] == "bytes=3000-"

    def test_a_server_without_ranges_begins_anew(self, downloads: Make, server: Any) -> None:
        server.breaks_after, server.ranges = [1000], False
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT

    def test_a_file_that_changed_meanwhile_is_refused_and_then_right(self, downloads: Make, server: Any) -> None:
        server.breaks_after = [1000] * 3
        server.files["/weights"] = b"x" * len(CONTENT)
        with pytest.raises(DownloadFailedError):
            downloads().get(f"{server.url}/weights", DIGEST)
        server.files["/weights"] = CONTENT
        with pytest.raises(DownloadTamperedError):
            downloads().get(f"{server.url}/weights", DIGEST)
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT

    def test_one_that_is_whole_already(self, downloads: Make, server: Any, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / f"{DIGEST[7:]}.part").write_bytes(CONTENT)
        assert downloads().get(f"{server.url}/weights", DIGEST).read_bytes() == CONTENT


class TestRefuse:
    def test_another_file_than_was_named(self, downloads: Make, server: Any, tmp_path: Path) -> None:
        server.files["/weights"] = CONTENT[:-1] + b"?"
        with pytest.raises(DownloadTamperedError) as caught:
            downloads().get(f"{server.url}/weights", DIGEST)
        assert (caught.value.wanted, caught.value.got) == (DIGEST, digest_bytes(server.files["/weights"]))
        assert _left(tmp_path) == []

    def test_one_that_says_it_is_too_large(self, downloads: Make, server: Any, tmp_path: Path) -> None:
        with pytest.raises(DownloadRefusedError, match=r"raise downloads\.file_gib"):
            downloads(file_gib=1000 / GIB).get(f"{server.url}/weights", DIGEST)
        assert _left(tmp_path) == []

    def test_one_that_does_not_say_so(self, downloads: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        big = tmp_path / "big"
        big.write_bytes(CONTENT)
        real = Path.stat
        files = downloads(file_gib=1000 / GIB, local_folders=[str(tmp_path)])

        class Tiny:
            st_size = 1

        monkeypatch.setattr(Path, "stat", lambda self, **how: Tiny() if self == big else real(self, **how))
        with pytest.raises(DownloadRefusedError, match="larger than 1000 bytes"):
            files.get(f"file://{big}", DIGEST)
        monkeypatch.undo()
        assert _left(tmp_path) == []

    @pytest.mark.parametrize("url", ["ftp://x.example/y", "weights", "synapse:syn123", "javascript:alert(1)"])
    def test_other_schemes(self, downloads: Make, url: str) -> None:
        with pytest.raises(DownloadRefusedError, match=r"known are file://, hf://, http://, https://"):
            downloads().get(url, DIGEST)

    def test_plain_http_elsewhere(self, downloads: Make) -> None:
        with pytest.raises(DownloadRefusedError, match=r"downloads\.plain_http"):
            downloads().get("http://192.0.2.1/weights", DIGEST)

    def test_a_redirection_into_the_clear(self, downloads: Make, server: Any) -> None:
        server.redirects["/moved"] = "http://192.0.2.1/weights"
        with pytest.raises(DownloadRefusedError, match=r"'192\.0\.2\.1' is asked over plain HTTP"):
            downloads().get(f"{server.url}/moved", DIGEST)

    def test_what_is_not_there(self, downloads: Make, server: Any) -> None:
        with pytest.raises(DownloadFailedError, match="answered 404"):
            downloads().get(f"{server.url}/nothing", DIGEST)


class TestLocal:
    def test_below_a_folder_that_the_site_allows(self, downloads: Make, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "share" / "my weights").write_bytes(CONTENT)
        files = downloads(local_folders=[str(tmp_path / "share")])
        assert files.get(f"file://{tmp_path}/share/my%20weights", DIGEST).read_bytes() == CONTENT

    @pytest.mark.parametrize("path", ["secret", "share/../secret", "share/link"])
    def test_nothing_beside_it(self, downloads: Make, tmp_path: Path, path: str) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "secret").write_bytes(CONTENT)
        (tmp_path / "share" / "link").symlink_to(tmp_path / "secret")
        files = downloads(local_folders=[str(tmp_path / "share")])
        with pytest.raises(DownloadRefusedError, match="in no folder that this site lets cubes name"):
            files.get(f"file://{tmp_path}/{path}", DIGEST)

    def test_none_by_default(self, downloads: Make) -> None:
        with pytest.raises(DownloadRefusedError):
            downloads().get("file:///etc/passwd", DIGEST)


class TestTrim:
    def test_the_least_recently_used_go_first(self, downloads: Make, server: Any) -> None:
        files = downloads()
        for number in range(3):
            content = CONTENT[:-1] + bytes([number])
            server.files[f"/{number}"] = content
            path = files.get(f"{server.url}/{number}", digest_bytes(content))
            old = time.time() - 1e6 + number
            os.utime(path, (old, old))
        small = downloads(cache_gib=2.5 * len(CONTENT) / GIB)
        assert [kept.digest for kept in small.trim()] == [digest_bytes(CONTENT[:-1] + b"\0")]
        assert len(files.list()) == 2

    def test_what_may_be_in_use_stays(self, downloads: Make, server: Any) -> None:
        files = downloads(cache_gib=1 / GIB)
        files.get(f"{server.url}/weights", DIGEST)
        assert files.trim() == ()
        assert [kept.digest for kept in files.list()] == [DIGEST]

    def test_what_goes_meanwhile_is_no_longer_kept(
        self, downloads: Make, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = downloads()
        place = files.get(f"{server.url}/weights", DIGEST)
        goes_meanwhile(monkeypatch, place.name)
        assert files.trim() == ()
        assert files.list() == ()

    def test_what_goes_while_it_is_read_is_not_changed(
        self, downloads: Make, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = downloads()
        place = files.get(f"{server.url}/weights", DIGEST)
        kept = files.list()
        place.unlink()
        monkeypatch.setattr(files, "list", lambda: kept)
        assert files.changed() == ()


class TestCube:
    """A pack that says where its weights lie."""

    CONTRACT = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 main.py}
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
"""

    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "net.pt").write_text("1 2 3")
        pack_folder(tmp_path / "weights", tmp_path / "weights.tar")
        return tmp_path / "weights.tar"

    def _bundle(self, tmp_path: Path, remote: str, files: Downloads | None) -> Any:
        (tmp_path / "cube").mkdir()
        (tmp_path / "cube" / "container_config.yaml").write_text(self.CONTRACT)
        (tmp_path / "cube" / "additional_files.yaml").write_text(remote)
        packed = pack_folder(tmp_path / "cube", tmp_path / "cube.tar")

        def fetch(_digest: str, target: Path) -> None:
            target.write_bytes((tmp_path / "cube.tar").read_bytes())

        store = CubeStore(tmp_path / "cubes", fetch, download=None if files is None else files.copy)
        ref = {"id": 1, "name": "m", "kind": CubeKind.MODEL, "pack_digest": packed.digest, "parameters": {}}
        return store.bundle(CubeRef.model_validate({**ref, "additional_files_digest": None, "parameters_digest": None}))

    def test_its_weights_are_fetched_verified_and_unpacked(
        self, downloads: Make, server: Any, archive: Path, tmp_path: Path
    ) -> None:
        server.files["/w.tar"] = archive.read_bytes()
        remote = f"url: {server.url}/w.tar\ndigest: {digest_bytes(archive.read_bytes())}\n"
        bundle = self._bundle(tmp_path, remote, downloads())
        assert (bundle.additional_files / "net.pt").read_text() == "1 2 3"
        assert _left(tmp_path) == []

    def test_other_weights_are_not(self, downloads: Make, server: Any, archive: Path, tmp_path: Path) -> None:
        server.files["/w.tar"] = archive.read_bytes() + b"x"
        remote = f"url: {server.url}/w.tar\ndigest: {digest_bytes(archive.read_bytes())}\n"
        with pytest.raises(CubeUnavailableError, match="nothing was unpacked"):
            self._bundle(tmp_path, remote, downloads())

    @pytest.mark.parametrize(
        ("remote", "said"), [("url: x", "digest"), ("- a", "url: https"), ("url: &a x\ndigest: *a", "aliases")]
    )
    def test_one_that_says_it_wrongly(self, tmp_path: Path, downloads: Make, remote: str, said: str) -> None:
        with pytest.raises(CubeUnavailableError, match=said):
            self._bundle(tmp_path, remote, downloads())

    def test_a_site_that_fetches_none(self, tmp_path: Path) -> None:
        with pytest.raises(CubeUnavailableError, match="this site fetches none"):
            self._bundle(tmp_path, f"url: https://x.example/w\ndigest: {DIGEST}", None)
