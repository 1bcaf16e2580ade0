"""Files of a model hub: pinned, weighed and compared before the first byte, and nobody but the site's own hub is asked."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import set_client_factory
from structlog.testing import capture_logs

from agents.downloads.cache import Downloads
from agents.downloads.errors import DownloadFailedError, DownloadRefusedError, DownloadTamperedError
from agents.downloads.hub import _client
from agents.downloads.schemes import HubScheme
from agents.downloads.settings import DownloadSettings
from cubes.digests import digest_bytes

CONTENT = bytes(range(256)) * 512
DIGEST = digest_bytes(CONTENT)
COMMIT, OTHER = "a" * 40, "b" * 40
PLACE, PINNED = "/org/model/resolve/v1.0/nets/w.pt", f"/org/model/resolve/{COMMIT}/nets/w.pt"
URL = "hf://org/model@v1.0/nets/w.pt"
GIB = 1 << 30
Make = Callable[..., Downloads]


@pytest.fixture
def hub(server: Any) -> Any:
    """A hub whose revision `v1.0` is at a commit, as it says in a header."""
    server.files |= {PLACE: CONTENT, PINNED: CONTENT}
    server.said[PLACE] = {"X-Repo-Commit": COMMIT}
    return server


@pytest.fixture
def fresh_client(encrypted: Any) -> Iterator[None]:
    """The library keeps one client for all, which knows whom it trusts from its beginning."""
    assert encrypted.url.startswith("https")
    set_client_factory(_client)
    yield
    set_client_factory(_client)


class TestGet:
    def test_a_file_with_the_sites_token(self, downloads: Make, hub: Any) -> None:
        assert downloads(hub_endpoint=hub.url, token="a-token").get(URL, DIGEST).read_bytes() == CONTENT
        assert [asked[2] for asked in hub.asked] == ["Bearer a-token"]
        assert [headers["authorization"] for _, headers in hub.heads] == ["Bearer a-token"]

    def test_a_file_of_a_dataset(self, downloads: Make, server: Any) -> None:
        server.files["/datasets/org/scans/resolve/refs%2Fpr%2F1/a%20b"] = CONTENT
        files = downloads(hub_endpoint=server.url)
        assert files.get("hf://datasets/org/scans@refs/pr/1/a b", DIGEST).read_bytes() == CONTENT

    def test_a_hub_that_says_nothing_of_commits(self, downloads: Make, server: Any) -> None:
        server.files["/org/model/resolve/main/w"] = CONTENT
        assert downloads(hub_endpoint=server.url).get("hf://org/model/w", DIGEST).read_bytes() == CONTENT

    def test_it_goes_on_where_it_broke_off(self, downloads: Make, hub: Any) -> None:
        hub.breaks_after = [1000]
        assert downloads(hub_endpoint=hub.url).get(URL, DIGEST).read_bytes() == CONTENT
        assert [wanted for _, wanted, _ in hub.asked] == ["", "bytes=1000-"]

    @pytest.mark.parametrize("refusal", [None, 405])
    @pytest.mark.usefixtures("fresh_client")
    def test_also_over_https(self, downloads: Make, encrypted: Any, refusal: int | None) -> None:
        encrypted.refuses_head = refusal
        encrypted.files["/org/model/resolve/main/w"] = CONTENT
        encrypted.breaks_after = [1000] if refusal is None else [1, 1000]
        assert downloads(hub_endpoint=encrypted.url).get("hf://org/model/w", DIGEST).read_bytes() == CONTENT
        assert [wanted for _, wanted, _ in encrypted.asked][-2:] == ["", "bytes=1000-"]

    def test_a_hub_that_is_away_for_a_moment(self, downloads: Make, hub: Any) -> None:
        hub.failures = [503]
        assert downloads(hub_endpoint=hub.url).get(URL, DIGEST).read_bytes() == CONTENT

    def test_what_is_not_there(self, downloads: Make, server: Any) -> None:
        with pytest.raises(DownloadFailedError, match="answered 404"):
            downloads(hub_endpoint=server.url).get(URL, DIGEST)

    def test_a_hub_that_is_away(self, downloads: Make) -> None:
        with pytest.raises(DownloadFailedError, match="try again"):
            downloads(hub_endpoint="http://127.0.0.1:1").get(URL, DIGEST)


class TestPin:
    def test_what_is_read_is_of_the_commit_that_was_found(self, downloads: Make, hub: Any) -> None:
        with capture_logs() as logs:
            downloads(hub_endpoint=hub.url).get(URL, DIGEST)
        assert [path for path, _ in hub.heads] == [PLACE]
        assert [path for path, _, _ in hub.asked] == [PINNED]
        assert [(entry["revision"], entry["commit"]) for entry in logs] == [("v1.0", COMMIT)]

    def test_a_revision_that_moves_on_meanwhile_is_not_mixed_in(self, downloads: Make, hub: Any) -> None:
        hub.breaks_after = [1000]
        hub.files[PLACE] = b"x" * len(CONTENT)  # what only the moved revision has
        assert downloads(hub_endpoint=hub.url).get(URL, DIGEST).read_bytes() == CONTENT

    def test_another_commit_than_was_named_is_refused(self, downloads: Make, hub: Any) -> None:
        hub.said[PINNED] = {"X-Repo-Commit": OTHER}
        with pytest.raises(DownloadRefusedError, match=f"answers with the commit '{OTHER}' instead"):
            downloads(hub_endpoint=hub.url).get(f"hf://org/model@{COMMIT}/nets/w.pt", DIGEST)
        assert hub.asked == []

    @pytest.mark.parametrize("commit", ["../../api/whoami", "main", COMMIT.upper()])
    def test_what_is_no_commit_becomes_part_of_no_url(self, downloads: Make, hub: Any, commit: str) -> None:
        hub.said[PLACE] = {"X-Repo-Commit": commit}
        downloads(hub_endpoint=hub.url).get(URL, DIGEST)
        assert [path for path, _, _ in hub.asked] == [PLACE]


class TestRefuse:
    """Before the first byte."""

    @pytest.mark.parametrize("header", ["Content-Length", "X-Linked-Size"])
    def test_one_that_is_too_large(self, downloads: Make, hub: Any, header: str) -> None:
        hub.said[PLACE] = {header: "1001"}
        with pytest.raises(DownloadRefusedError, match=r"raise downloads\.file_gib"):
            downloads(hub_endpoint=hub.url, file_gib=1000 / GIB).get(URL, DIGEST)
        assert hub.asked == []

    def test_one_whose_digest_is_another(self, downloads: Make, hub: Any, tmp_path: Path) -> None:
        hub.said[PLACE] = {"X-Linked-Etag": f'"{"c" * 64}"'}
        (tmp_path / "kept").mkdir()
        part = tmp_path / "kept" / f"{DIGEST[7:]}.part"
        part.write_bytes(CONTENT[:100])
        with pytest.raises(DownloadTamperedError) as caught:
            downloads(hub_endpoint=hub.url).get(URL, DIGEST)
        assert (caught.value.wanted, caught.value.got) == (DIGEST, f"sha256:{'c' * 64}")
        assert hub.asked == []
        assert not part.exists()

    def test_the_digest_of_git_says_nothing(self, downloads: Make, hub: Any) -> None:
        hub.said[PLACE] = {"ETag": f'"{"c" * 40}"'}
        assert downloads(hub_endpoint=hub.url).get(URL, DIGEST).is_file()

    def test_a_hub_that_lies_about_it_is_found_out_afterwards(self, downloads: Make, hub: Any) -> None:
        hub.said[PLACE] = {"X-Linked-Etag": f'"{DIGEST[7:]}"'}
        hub.files[PLACE] = CONTENT[:-1] + b"?"
        with pytest.raises(DownloadTamperedError):
            downloads(hub_endpoint=hub.url).get(URL, DIGEST)

    @pytest.mark.parametrize(
        "url",
        [
            "hf://model",
            "hf://org/model@v1",
            "hf://org/model@v1/../../x",
            "hf://org/model@%2e%2e/x",
            "hf://a/b c/d",
            "hf://org/model@/x",
            "hf://spaces/org/app/x",
            "hf://buckets/org/store/x",
        ],
    )
    def test_what_names_no_file(self, downloads: Make, url: str) -> None:
        with pytest.raises(DownloadRefusedError, match="write hf://"):
            downloads().get(url, DIGEST)


class TestLeadOn:
    """Where else a hub sends who asks."""

    def test_the_token_does_not_follow_to_where_the_bytes_lie(self, downloads: Make, hub: Any) -> None:
        elsewhere = hub.url.replace("127.0.0.1", "localhost") + "/weights"
        hub.redirects = {PLACE: elsewhere, PINNED: elsewhere}
        hub.files["/weights"] = CONTENT
        assert downloads(hub_endpoint=hub.url, token="a-token").get(URL, DIGEST).read_bytes() == CONTENT
        assert [path for path, _ in hub.heads] == [PLACE]
        assert [header for _, _, header in hub.asked] == ["Bearer a-token", ""]

    def test_a_name_that_changed_at_the_same_hub(self, downloads: Make, hub: Any) -> None:
        hub.redirects = {PLACE: "/renamed"}
        hub.files["/renamed"] = CONTENT
        hub.said["/renamed"] = {"X-Repo-Commit": COMMIT}
        assert downloads(hub_endpoint=hub.url).get(URL, DIGEST).read_bytes() == CONTENT
        assert [path for path, _ in hub.heads] == [PLACE, "/renamed"]

    @pytest.mark.parametrize("other", ["https://huggingface.co", "https://hf.co"])
    def test_the_public_hub_hears_nothing_of_a_private_one(self, downloads: Make, hub: Any, other: str) -> None:
        hub.redirects = {PLACE: f"{other}/org/model/resolve/main/w"}
        with pytest.raises(DownloadRefusedError, match=r"leads on to '.*' .*downloads\.hub_endpoint"):
            downloads(hub_endpoint=hub.url, token="a-token").get(URL, DIGEST)
        assert hub.asked == []

    def test_a_hub_in_the_clear_is_not_asked(self) -> None:
        hub = HubScheme(DownloadSettings(hub_endpoint="http://192.0.2.1"), lambda: "a-token")
        with pytest.raises(DownloadRefusedError, match="asked over plain HTTP"):
            hub.look(URL)


@pytest.mark.parametrize("refusal", [400, 403, 405, 501, 0])
class TestNoHead:
    """A hub, or a proxy before it, that answers HEAD with a refusal or hangs up is read for one byte instead."""

    def test_it_is_pinned_weighed_and_read(self, downloads: Make, hub: Any, refusal: int) -> None:
        hub.refuses_head = refusal
        assert downloads(hub_endpoint=hub.url, token="a-token").get(URL, DIGEST).read_bytes() == CONTENT
        assert [path for path, _ in hub.heads] == [PLACE]
        assert hub.asked == [(PLACE, "bytes=0-0", "Bearer a-token"), (PINNED, "", "Bearer a-token")]

    def test_one_that_is_too_large_or_another_is_refused_after_one_byte(
        self, downloads: Make, hub: Any, refusal: int
    ) -> None:
        hub.refuses_head = refusal
        with pytest.raises(DownloadRefusedError, match=r"raise downloads\.file_gib"):
            downloads(hub_endpoint=hub.url, file_gib=1000 / GIB).get(URL, DIGEST)
        hub.said[PLACE]["X-Linked-Etag"] = f'"{"c" * 64}"'
        with pytest.raises(DownloadTamperedError):
            downloads(hub_endpoint=hub.url).get(URL, DIGEST)
        assert {wanted for _, wanted, _ in hub.asked} == {"bytes=0-0"}


class TestNoHeadAndMore:
    @pytest.fixture
    def stubborn(self, hub: Any) -> Any:
        hub.refuses_head = 405
        return hub

    def test_nor_ranges(self, downloads: Make, stubborn: Any) -> None:
        stubborn.ranges = False
        assert downloads(hub_endpoint=stubborn.url).get(URL, DIGEST).read_bytes() == CONTENT

    def test_it_goes_on_where_it_broke_off(self, downloads: Make, stubborn: Any) -> None:
        stubborn.breaks_after = [1, 1000]  # the byte that is asked for, then the file
        assert downloads(hub_endpoint=stubborn.url).get(URL, DIGEST).read_bytes() == CONTENT
        assert [wanted for _, wanted, _ in stubborn.asked] == ["bytes=0-0", "", "bytes=1000-"]

    def test_what_is_not_there(self, downloads: Make, stubborn: Any) -> None:
        stubborn.files.clear()
        with pytest.raises(DownloadFailedError, match="answered 404"):
            downloads(hub_endpoint=stubborn.url).get(URL, DIGEST)

    def test_one_that_may_not_be_read_is_no_hub_without_head(self, downloads: Make, stubborn: Any) -> None:
        stubborn.failures = [403] * 10
        with pytest.raises(DownloadFailedError, match="answered 403"):
            downloads(hub_endpoint=stubborn.url).get(URL, DIGEST)

    def test_the_token_does_not_follow_to_where_the_bytes_lie(self, downloads: Make, stubborn: Any) -> None:
        elsewhere = stubborn.url.replace("127.0.0.1", "localhost") + "/weights"
        stubborn.redirects = {PLACE: elsewhere, PINNED: elsewhere}
        stubborn.files["/weights"] = CONTENT
        stubborn.said[PLACE]["X-Linked-Size"] = str(len(CONTENT))
        assert downloads(hub_endpoint=stubborn.url, token="a-token").get(URL, DIGEST).read_bytes() == CONTENT
        assert [(path, header) for path, _, header in stubborn.asked] == [
            (PLACE, "Bearer a-token"),
            (PINNED, "Bearer a-token"),
            ("/weights", ""),
        ]

    def test_a_name_that_changed_at_the_same_hub(self, downloads: Make, stubborn: Any) -> None:
        stubborn.redirects = {PLACE: "/renamed"}
        stubborn.files["/renamed"] = CONTENT
        stubborn.said["/renamed"] = {"X-Repo-Commit": COMMIT}
        assert downloads(hub_endpoint=stubborn.url).get(URL, DIGEST).read_bytes() == CONTENT
        assert [path for path, _, _ in stubborn.asked] == [PLACE, "/renamed", PINNED]

    def test_one_that_leads_in_a_circle(self, downloads: Make, stubborn: Any) -> None:
        stubborn.redirects = {PLACE: PLACE}
        with pytest.raises(DownloadFailedError, match="redirects"):
            downloads(hub_endpoint=stubborn.url).get(URL, DIGEST)


_FETCH = """
import sys
from pathlib import Path
from agents.downloads.hub import _client
from agents.downloads.schemes import HubScheme
from agents.downloads.settings import DownloadSettings
print(HubScheme(DownloadSettings(hub_endpoint=sys.argv[1]), lambda: None).look(sys.argv[2]).url)
"""


class TestKeepToItself:
    def test_no_token_name_or_folder_of_the_users_own(self, hub: Any, tmp_path: Path) -> None:
        (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
        (tmp_path / ".cache" / "huggingface" / "token").write_text("of-the-user")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
        environment |= {"HOME": str(tmp_path), "HF_TOKEN": "of-the-user", "HF_ENDPOINT": "https://huggingface.co"}
        done = subprocess.run(
            [sys.executable, "-c", _FETCH, hub.url, URL], env=environment, capture_output=True, text=True, check=False
        )
        assert f"hf://models/org/model@{COMMIT}/nets/w.pt" in done.stdout, done.stderr
        [(_, headers)] = hub.heads
        assert "authorization" not in headers
        assert headers["user-agent"] == "assay"
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
            ".cache/huggingface/token"
        ]
