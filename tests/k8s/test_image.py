"""`k8s/image.py`: two builds of one source give one digest, whatever the clock says and whoever makes the folders."""

import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from cli.demo.images import base_with_pip
from tests.k8s.images import ROOT, builder, docker

PROGRAM: Final = ROOT / "k8s" / "image.py"
BASE: Final = {"created": "2020-01-01T00:00:00Z", "created_by": "ADD base"}
OURS: Final = "RUN /bin/sh -c printf 'assay:x:10001:10001:Assay' >> /etc/passwd"
CONTEXT: Final = (
    "LICENSE", "README.md", "pyproject.toml", "requirements.lock", "requirements-dev.lock", "tools.lock", "Containerfile",
    ".dockerignore", "api", "agents", "cli", "cubes", "flows", "k8s",
)  # fmt: skip


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_layer(files: Mapping[str, bytes], mtime: int, *, backwards: bool = False) -> bytes:
    """A layer with a folder and files in it, as an engine may write it."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        folder = tarfile.TarInfo("opt")
        folder.type, folder.mtime = tarfile.DIRTYPE, mtime
        archive.addfile(folder)
        for name in sorted(files, reverse=backwards):
            member = tarfile.TarInfo(f"opt/{name}")
            member.size, member.mtime, member.mode = len(files[name]), mtime, 0o640
            archive.addfile(member, io.BytesIO(files[name]))
        link = tarfile.TarInfo("opt/again")
        link.type, link.linkname, link.mtime = tarfile.LNKTYPE, f"opt/{min(files)}", mtime
        archive.addfile(link)
    return body.getvalue()


def an_archive(path: Path, base: bytes, own: bytes, created: str) -> Path:
    """What `docker save` writes of an image of two layers."""
    layers = {"first/layer.tar": base, "second/layer.tar": own}
    config: dict[str, Any] = {
        "created": created,
        "config": {"User": "10001"},
        "history": [BASE, {"created": created, "created_by": OURS}, {"created": created, "empty_layer": True}],
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(body).hexdigest()}" for body in layers.values()],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": list(layers)}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode(), **layers}
    with tarfile.open(path, "w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


class TestSettle:
    FILES: Final = {"a": b"1", "b": b"2"}

    def settled(self, program: ModuleType, folder: Path, name: str, own: bytes, created: str) -> tuple[str, Path]:
        target = folder / f"{name}-settled.tar"
        written = an_archive(folder / f"{name}.tar", a_layer({"base": b"0"}, 77), own, created)
        return program.settle(written, target, "x:1"), target

    def test_the_time_of_a_build_and_the_order_of_its_files_do_not_show(
        self, program: ModuleType, tmp_path: Path
    ) -> None:
        today, _ = self.settled(program, tmp_path, "today", a_layer(self.FILES, 111), "2026-01-01T00:00:00Z")
        later = a_layer(self.FILES, 222, backwards=True)
        tomorrow, _ = self.settled(program, tmp_path, "tomorrow", later, "2026-01-02T00:00:00Z")
        assert today == tomorrow

    def test_other_bytes_do(self, program: ModuleType, tmp_path: Path) -> None:
        one, _ = self.settled(program, tmp_path, "one", a_layer(self.FILES, 1), "2026-01-01T00:00:00Z")
        other, _ = self.settled(program, tmp_path, "other", a_layer({"a": b"1", "b": b"3"}, 1), "2026-01-01T00:00:00Z")
        assert one != other

    def test_the_base_stays_as_it_is_to_the_byte(self, program: ModuleType, tmp_path: Path) -> None:
        _, path = self.settled(program, tmp_path, "x", a_layer(self.FILES, 1), "2026-01-01T00:00:00Z")
        with tarfile.open(path) as archive:
            [image] = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
            first = archive.extractfile(image["Layers"][0])
            assert first is not None
            assert first.read() == a_layer({"base": b"0"}, 77)

    def test_modes_links_and_contents_are_kept(self, program: ModuleType, tmp_path: Path) -> None:
        _, path = self.settled(program, tmp_path, "x", a_layer(self.FILES, 9), "2026-01-01T00:00:00Z")
        with tarfile.open(path) as archive:
            [image] = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
            with tarfile.open(fileobj=archive.extractfile(image["Layers"][1])) as layer:
                members = {member.name: member for member in layer.getmembers()}
                assert list(members) == ["opt", "opt/a", "opt/b", "opt/again"]
                assert (members["opt/a"].mode, members["opt/a"].mtime) == (0o640, 0)
                assert members["opt/again"].linkname == "opt/a"
                read = layer.extractfile("opt/b")
                assert read is not None
                assert read.read() == b"2"

    def test_the_identifier_names_what_is_in_it(self, program: ModuleType, tmp_path: Path) -> None:
        identifier, path = self.settled(program, tmp_path, "x", a_layer(self.FILES, 9), "2026-01-01T00:00:00Z")
        with tarfile.open(path) as archive:
            [image] = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
            config = archive.extractfile(image["Config"])
            assert config is not None
            assert identifier == f"sha256:{hashlib.sha256(config.read()).hexdigest()}"
            for name, digest in zip(
                image["Layers"],
                json.load(archive.extractfile(image["Config"]) or pytest.fail("no config"))["rootfs"]["diff_ids"],
                strict=True,
            ):
                layer = archive.extractfile(name)
                assert layer is not None
                assert digest == f"sha256:{hashlib.sha256(layer.read()).hexdigest()}"


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestBuild:
    def test_two_builds_of_one_source_give_one_digest(self, tmp_path: Path) -> None:
        image = builder()
        words = ("--quiet", "--no-cache", "--network=host", "--build-arg", f"BASE={image.base}",
                 "--build-arg", f"BUILDER={base_with_pip(image.registry, image.base)}")  # fmt: skip
        found = []
        for number in (1, 2):
            source = tmp_path / str(number)
            source.mkdir()
            for name in CONTEXT:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / name)
            tag = f"{image.registry}/assay:built-{number}"
            command = [sys.executable, str(source / "k8s" / "image.py"), tag, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            found.append(docker("inspect", "--format", "{{.Id}}", tag))
            assert done.stdout.strip() == found[-1]
            docker("push", "--quiet", tag)
        assert found[0] == found[1]
        assert docker("run", "--rm", "--network=none", tag, "--help")
