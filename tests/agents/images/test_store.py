"""The store unpacks an image once, by digest; what is not what it says is not there afterwards."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.images.documents import Descriptor
from agents.images.errors import ImageRefusedError, ImageTamperedError, ImageUnavailableError
from agents.images.store import ImageStore

Make = Callable[..., Any]
PROCESS = {"Env": ["A=1"], "Entrypoint": ["/hello"], "Cmd": None, "WorkingDir": "/w", "User": "1000"}


@pytest.fixture
def image(make_image: Make) -> Any:
    return make_image([("hello", {"mode": 0o755}, b"1\n"), ("old", {}, b"")], [(".wh.old", {}, b"")], process=PROCESS)


def _places(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("images/*") if path.suffix != ".lock")


class TestGet:
    def test_an_image_is_unpacked_with_its_configuration(self, store: ImageStore, registry: Any, image: Any) -> None:
        found = store.get(registry.push(image).pinned(image.digest))
        assert [path.name for path in found.root.iterdir()] == ["hello"]
        process = found.record.process
        assert (process.entrypoint, process.command, process.environment) == (("/hello",), (), ("A=1",))
        assert (process.working_directory, process.user) == ("/w", "1000")
        assert found.record.digest == found.record.manifest == image.digest

    def test_it_is_pulled_once(self, store: ImageStore, registry: Any, image: Any) -> None:
        reference = registry.push(image).pinned(image.digest)
        store.get(reference)
        asked = len(registry.requests)
        assert store.get(reference) == store.get(reference)
        assert len(registry.requests) == asked

    def test_a_tag_is_not_enough(self, store: ImageStore, registry: Any, image: Any) -> None:
        with pytest.raises(ImageRefusedError, match="named by a tag"):
            store.get(registry.push(image))

    def test_a_tag_that_moved_changes_nothing(
        self, store: ImageStore, registry: Any, image: Any, make_image: Make
    ) -> None:
        reference = registry.push(image).pinned(image.digest)
        registry.push(make_image([("hello", {}, b"evil\n")]))
        assert (store.get(reference).root / "hello").read_bytes() == b"1\n"

    def test_of_an_index_the_manifest_for_this_machine(
        self, store: ImageStore, registry: Any, image: Any, make_image: Make
    ) -> None:
        other = make_image([("hello", {}, b"other\n")], machine="s390x")
        for one in (image, other):
            registry.push(one)
        manifests = [
            {"digest": one.digest, "size": 1, "platform": {"os": "linux", "architecture": one.machine}}
            for one in (other, image)
        ]
        index = json.dumps({"manifests": manifests}).encode()
        digest = "sha256:" + hashlib.sha256(index).hexdigest()
        registry.manifests[f"org/model:{digest}"] = index
        found = store.get(registry.reference().pinned(digest))
        assert (found.record.digest, found.record.manifest) == (digest, image.digest)
        assert (found.root / "hello").read_bytes() == b"1\n"

    def test_what_was_carried_here_needs_no_registry(self, store: ImageStore, registry: Any, image: Any) -> None:
        for blob in (image.manifest, *image.blobs.values()):
            digest = "sha256:" + hashlib.sha256(blob).hexdigest()
            store.carried.add(iter([blob]), Descriptor(mediaType="", digest=digest, size=len(blob)))
        assert store.get(registry.reference("away", "1").pinned(image.digest)).root.is_dir()
        assert registry.requests == []


class TestTampering:
    @pytest.mark.parametrize("what", ["manifest", "config", "layer"])
    def test_anything_that_is_another_is_refused(
        self, store: ImageStore, registry: Any, image: Any, tmp_path: Path, what: str
    ) -> None:
        reference = registry.push(image).pinned(image.digest)
        manifest = json.loads(image.manifest)
        if what == "manifest":
            registry.manifests[f"org/model:{image.digest}"] = image.manifest.replace(b"gzip", b"zstd")
        else:
            digest = (manifest["config"] if what == "config" else manifest["layers"][1])["digest"]
            registry.blobs[digest] = registry.blobs[digest][:-1] + b"?"
        with pytest.raises(ImageTamperedError):
            store.get(reference)
        assert _places(tmp_path) == []

    @pytest.mark.parametrize("how", ["change", "add", "remove", "mode", "touch"])
    def test_a_changed_copy_is_pulled_again(self, store: ImageStore, registry: Any, image: Any, how: str) -> None:
        reference = registry.push(image).pinned(image.digest)
        root = store.get(reference).root
        if how == "change":
            (root / "hello").write_bytes(b"2\n")
        elif how == "remove":
            (root / "hello").unlink()
        elif how == "mode":
            (root / "hello").chmod(0o777)
        else:
            (root / ("more" if how == "add" else "hello")).touch()
        asked = len(registry.requests)
        assert (store.get(reference).root / "hello").read_bytes() == b"1\n"
        assert [path.name for path in root.iterdir()] == ["hello"]
        assert len(registry.requests) > asked

    def test_what_a_crash_left_is_removed(self, store: ImageStore, registry: Any, image: Any, tmp_path: Path) -> None:
        reference = registry.push(image).pinned(image.digest)
        place = store.get(reference).root.parent
        place.rename(place.with_name(f".{place.name}.half"))
        store.get(reference)
        assert _places(tmp_path) == [place.name]


class TestRefuse:
    def test_another_machine(self, store: ImageStore, registry: Any, make_image: Make) -> None:
        image = make_image([("a", {}, b"")], machine="s390x")
        with pytest.raises(ImageRefusedError, match="is for linux/s390x"):
            store.get(registry.push(image).pinned(image.digest))

    def test_too_many_layers(self, store: ImageStore, registry: Any, make_image: Make) -> None:
        image = make_image(*[[(f"f{number}", {}, b"")] for number in range(130)])
        with pytest.raises(ImageRefusedError, match="130 layers"):
            store.get(registry.push(image).pinned(image.digest))

    @pytest.mark.parametrize(
        "manifest",
        [b"[]", b"{", b'{"config": 1, "layers": []}', b'{"layers": [], "layers": []}', b"[" * 100_000, b'{"manifests": []}'],
    )  # fmt: skip
    def test_a_manifest_that_is_none(self, store: ImageStore, registry: Any, manifest: bytes) -> None:
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        registry.manifests[f"org/model:{digest}"] = manifest
        with pytest.raises(ImageRefusedError):
            store.get(registry.reference().pinned(digest))


class TestArchive:
    @pytest.mark.parametrize("how", ["save", "layout"])
    @pytest.mark.parametrize("compressed", [True, False])
    def test_both_forms_become_the_same_image(
        self, store: ImageStore, image: Any, tmp_path: Path, how: str, *, compressed: bool
    ) -> None:
        path = getattr(image, how)(tmp_path / "image.tar")
        if compressed:
            path.write_bytes(gzip.compress(path.read_bytes()))
        found = store.get_archive(path)
        assert [(p.name, p.read_bytes()) for p in found.root.iterdir()] == [("hello", b"1\n")]
        assert found.record.process.user == "1000"

    def test_a_layout_keeps_the_registrys_digest(self, store: ImageStore, image: Any, tmp_path: Path) -> None:
        assert store.get_archive(image.layout(tmp_path / "image.tar")).record.digest == image.digest

    @pytest.mark.parametrize("how", ["save", "layout"])
    @pytest.mark.parametrize("part", ["config", "layer"])
    def test_a_tampered_part_is_refused(
        self, store: ImageStore, image: Any, tmp_path: Path, how: str, part: str
    ) -> None:
        data = image.config if part == "config" else image.layers[0]
        if how == "layout":
            data = data if part == "config" else gzip.compress(data, 1, mtime=0)
            name = "blobs/sha256/" + hashlib.sha256(data).hexdigest()
        else:
            name = hashlib.sha256(data).hexdigest() + (".json" if part == "config" else "/layer.tar")
        path = getattr(image, how)(tmp_path / "image.tar", **{name: data[:-1] + b"?"})
        with pytest.raises(ImageTamperedError):
            store.get_archive(path)
        assert _places(tmp_path) == []

    def test_several_images_are_refused(self, store: ImageStore, image: Any, tmp_path: Path) -> None:
        twice = json.loads(image.manifest)
        index = json.dumps({"manifests": [{**twice["config"]}, {**twice["config"]}]}).encode()
        with pytest.raises(ImageRefusedError, match="holds 2 images"):
            store.get_archive(image.layout(tmp_path / "image.tar", **{"index.json": index}))

    @pytest.mark.parametrize("content", [b"", b"junk" * 500, b"\x1f\x8b" + b"junk"])
    def test_no_archive(self, store: ImageStore, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "image.tar").write_bytes(content)
        with pytest.raises((ImageRefusedError, ImageUnavailableError)):
            store.get_archive(tmp_path / "image.tar")


class TestKeep:
    def test_what_is_here_is_listed_and_removed(self, store: ImageStore, registry: Any, image: Any) -> None:
        store.get(registry.push(image).pinned(image.digest))
        (held,) = store.list()
        assert held.record.digest == image.digest
        assert held.size > 0
        store.remove(image.digest)
        assert store.list() == ()

    @pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:../../x", ""])
    def test_what_is_not_here_is_not_removed(self, store: ImageStore, digest: str) -> None:
        with pytest.raises(ImageUnavailableError, match="list those that are"):
            store.remove(digest)
