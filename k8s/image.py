# ruff: noqa: INP001 - a program that needs nothing but Python, no module of a package
"""Build the application's image so that everybody who builds this version gets the same digest.

    python3 k8s/image.py REGISTRY/assay:VERSION [OPTIONS OF docker build]

It is `docker build` with the Containerfile beside this folder, and one thing more: an engine writes down when it built, in the
image's configuration and on folders that it made. Those times are set to zero, in the layers that this build added; the base
stays as it is, to the byte. Newer engines can do so themselves (BuildKit from 0.13 on: SOURCE_DATE_EPOCH=0, --output
type=image,rewrite-timestamp=true); this works with any that knows `docker save`. Python 3.11 and no packages.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
NEVER: Final = "1970-01-01T00:00:00Z"
_PIECE: Final = 1 << 20


def build(tag: str, options: Sequence[str]) -> str:
    """Build it, and load what came out of it under the same name.

    Returns:
        The image's identifier: the digest of its configuration, which names all layers.
    """
    with tempfile.TemporaryDirectory() as folder:
        written, settled = Path(folder) / "written.tar", Path(folder) / "settled.tar"
        _docker("build", *options, "--file", str(ROOT / "Containerfile"), "--tag", tag, str(ROOT))
        _docker("save", "--output", str(written), tag)
        identifier = settle(written, settled, tag)
        _docker("load", "--quiet", "--input", str(settled))
    return identifier


def settle(written: Path, settled: Path, tag: str) -> str:
    """Write an image's archive again, without the times of its build.

    Args:
        written: what `docker save` wrote, of one image.
        settled: what `docker load` is to read.
        tag: the name that it gets there.

    Returns:
        The image's identifier.
    """
    with tarfile.open(written) as source, tarfile.open(settled, "w") as target:
        [image] = json.load(_file(source, "manifest.json"))
        config = json.load(_file(source, image["Config"]))
        own = _own_layers(config["history"])
        layers = []
        for number, (name, digest) in enumerate(zip(image["Layers"], config["rootfs"]["diff_ids"], strict=True)):
            with tempfile.TemporaryFile() as layer:
                _copy(_file(source, name), layer)
                settled_digest = _without_times(layer) if number in own else digest
                config["rootfs"]["diff_ids"][number] = settled_digest
                layers.append(f"{settled_digest.removeprefix('sha256:')}/layer.tar")
                _add(target, layers[-1], layer)
        body = json.dumps(config | {"created": NEVER}, sort_keys=True, separators=(",", ":")).encode()
        identifier = hashlib.sha256(body).hexdigest()
        _add(target, f"{identifier}.json", io.BytesIO(body))
        manifest = [{"Config": f"{identifier}.json", "RepoTags": [tag], "Layers": layers}]
        _add(target, "manifest.json", io.BytesIO(json.dumps(manifest).encode()))
    return f"sha256:{identifier}"


def _own_layers(history: list[dict[str, Any]]) -> set[int]:
    """Which layers the last build added; their entries in the history lose their times.

    A Containerfile's first own instruction after FROM marks where a base ends: ours is the one that makes the user `assay`.
    """
    first = next(number for number, entry in enumerate(history) if _makes_the_user(entry))
    for entry in history[first:]:
        entry["created"] = NEVER
    before = sum(not entry.get("empty_layer", False) for entry in history[:first])
    total = sum(not entry.get("empty_layer", False) for entry in history)
    return set(range(before, total))


def _makes_the_user(entry: dict[str, Any]) -> bool:
    return "assay:x:10001" in entry.get("created_by", "")


def _without_times(layer: IO[bytes]) -> str:
    """Write a layer again in place: sorted, every time zero. Returns its digest."""
    layer.seek(0)
    with tempfile.TemporaryFile() as new:
        with (
            tarfile.open(fileobj=layer) as source,
            tarfile.open(fileobj=new, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            for member in _ordered(source.getmembers()):
                body = source.extractfile(member) if member.isreg() else None
                member.mtime = 0
                member.uname = member.gname = ""
                member.pax_headers = {
                    key: value for key, value in member.pax_headers.items() if key not in {"mtime", "atime", "ctime"}
                }
                target.addfile(member, body)
        layer.seek(0)
        layer.truncate()
        _copy(new, layer)
    return _digest(layer)


def _ordered(members: Iterable[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """By name, which puts a folder before what is in it; links to files after all files."""
    return sorted(members, key=lambda member: (member.islnk(), member.name))


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        sys.exit(f"{name!r} is not a file of the image's archive: is it what `docker save` wrote?")
    return found


def _add(archive: tarfile.TarFile, name: str, body: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = body.seek(0, os.SEEK_END)
    body.seek(0)
    archive.addfile(member, body)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    while piece := source.read(_PIECE):
        target.write(piece)


def _digest(body: IO[bytes]) -> str:
    body.seek(0)
    found = hashlib.sha256()
    while piece := body.read(_PIECE):
        found.update(piece)
    return f"sha256:{found.hexdigest()}"


def _docker(*words: str) -> None:
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    program = shutil.which("docker") or sys.exit("docker is not on PATH")
    done = subprocess.run([program, *words], env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        sys.exit(f"docker {words[0]} failed: see above")


if __name__ == "__main__":
    name, *rest = sys.argv[1:] or ["--help"]
    sys.stdout.write(f"{__doc__ if name.startswith('-') else build(name, rest)}\n")
