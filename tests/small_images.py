"""Small images, and an image registry on loopback that can lie: real HTTP, everything else as a registry does it."""

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agents.images.documents import architecture
from cubes.image_reference import ImageReference, parse_reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Entry = tuple[str, dict[str, Any], bytes]


def _sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_of(entries: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, changes, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@cache
def _packed(layer: bytes) -> bytes:
    return gzip.compress(layer, 1, mtime=0)


@dataclass
class Image:
    """An image in the making: its blobs by digest, its manifest, and the archives of it."""

    layers: list[bytes]
    process: dict[str, Any] = field(default_factory=dict)
    machine: str = field(default_factory=architecture)

    @property
    def config(self) -> bytes:
        rootfs = {"type": "layers", "diff_ids": [_sha(layer) for layer in self.layers]}
        config = {"architecture": self.machine, "os": "linux", "config": self.process, "rootfs": rootfs}
        return json.dumps(config).encode()

    @property
    def blobs(self) -> dict[str, bytes]:
        return {_sha(blob): blob for blob in (self.config, *map(_packed, self.layers))}

    @property
    def manifest(self) -> bytes:
        def descriptor(blob: bytes, kind: str) -> dict[str, Any]:
            return {"digest": _sha(blob), "size": len(blob), "mediaType": f"application/vnd.oci.image.{kind}"}

        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(self.config, "config.v1+json"),
                "layers": [descriptor(blob, "layer.v1.tar+gzip") for blob in map(_packed, self.layers)],
            }
        ).encode()

    @property
    def digest(self) -> str:
        return _sha(self.manifest)

    def save(self, path: Path, **changes: bytes) -> Path:
        """As `docker save` writes it."""
        config = _sha(self.config).removeprefix("sha256:") + ".json"
        names = [f"{_sha(layer)[7:]}/layer.tar" for layer in self.layers]
        files = dict(zip(names, self.layers, strict=True)) | {config: self.config}
        files["manifest.json"] = json.dumps([{"Config": config, "RepoTags": None, "Layers": names}]).encode()
        return self._tar(path, files | changes)

    def layout(self, path: Path, **changes: bytes) -> Path:
        """As an OCI image layout."""
        files = {f"blobs/sha256/{digest[7:]}": blob for digest, blob in self.blobs.items()}
        files[f"blobs/sha256/{self.digest[7:]}"] = self.manifest
        index = {"manifests": [{"digest": self.digest, "size": len(self.manifest), "mediaType": MANIFEST}]}
        files |= {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        return self._tar(path, files | changes)

    def _tar(self, path: Path, files: dict[str, bytes]) -> Path:
        path.write_bytes(layer_of([(name, {}, content) for name, content in files.items()]))
        return path


@dataclass
class ImageRegistry:
    """What a registry holds and how it behaves; `requests` is what it was asked."""

    address: str = ""
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    login: str | None = None
    token: str = "a-token"
    failures: list[int] = field(default_factory=list)
    redirect: str | None = None

    def push(self, image: Image, name: str = "org/model", tag: str = "1") -> ImageReference:
        self.blobs |= image.blobs
        self.manifests |= {f"{name}:{tag}": image.manifest, f"{name}:{image.digest}": image.manifest}
        return self.reference(name, tag)

    def reference(self, name: str = "org/model", tag: str = "1") -> ImageReference:
        return parse_reference(f"{self.address}/{name}:{tag}")


class _Handler(BaseHTTPRequestHandler):
    registry: ImageRegistry

    def do_GET(self) -> None:
        registry, path = self.registry, self.path.partition("?")[0]
        authorization = self.headers.get("Authorization", "")
        registry.requests.append((self.path, authorization))
        if registry.failures:
            self._answer(registry.failures.pop(0), b"")
        elif path == "/token":
            granted = authorization == f"Basic {registry.login}"
            self._answer(200 if granted else 401, json.dumps({"token": registry.token}).encode())
        elif registry.login is not None and authorization != f"Bearer {registry.token}":
            realm = f'Bearer realm="http://{registry.address}/token",service="test",scope="repository:x:pull"'
            self._answer(401, b"", {"WWW-Authenticate": realm})
        else:
            self._content(path)

    def _content(self, path: str) -> None:
        name, _, last = path.removeprefix("/v2/").rpartition("/")
        name, _, kind = name.rpartition("/")
        if kind == "blobs" and self.registry.redirect is not None:
            self._answer(307, b"", {"Location": f"{self.registry.redirect}/{last}"})
            return
        held = {"blobs": self.registry.blobs.get(last), "manifests": self.registry.manifests.get(f"{name}:{last}")}
        found = held.get(kind)
        self._answer(404 if found is None else 200, found or b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def image_registry() -> Iterator[ImageRegistry]:
    """A registry that is empty at first."""
    held = ImageRegistry()
    handler = type("Handler", (_Handler,), {"registry": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        held.address = f"127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield held
        server.shutdown()
        serving.join()


def make_image(*layers: list[Entry], process: dict[str, Any] | None = None, machine: str | None = None) -> Image:
    """Layers as lists of (name, changes of the tar entry, content)."""
    return Image([layer_of(entries) for entries in layers], process or {}, machine or architecture())


@cache
def programs(*names: str) -> list[Entry]:
    """Programs of this host with the libraries that they load, as a layer: enough for an image that runs."""
    entries: dict[str, Entry] = {}
    for name in names:
        found = shutil.which(name)
        assert found is not None, f"this host has no {name!r}"
        entries[f"bin/{name}"] = (f"bin/{name}", {"mode": 0o755}, Path(found).read_bytes())
        said = subprocess.run(["/usr/bin/ldd", found], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            entries[library] = (library.lstrip("/"), {"mode": 0o755}, Path(library).read_bytes())
    return list(entries.values())


def push(image: Image, address: str, name: str, tag: str = "1") -> ImageReference:
    """Push to a registry over plain HTTP; the reference has the digest."""
    base = f"http://{address}/v2/{name}"
    for digest, blob in image.blobs.items():
        with _request("POST", f"{base}/blobs/uploads/", b"") as answer:
            place = str(answer.headers["Location"])
        _request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", blob).close()
    _request("PUT", f"{base}/manifests/{tag}", image.manifest, MANIFEST).close()
    return parse_reference(f"{address}/{name}:{tag}").pinned(image.digest)


def _request(method: str, url: str, body: bytes, kind: str = "application/octet-stream") -> Any:
    asked = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    return urllib.request.urlopen(asked, timeout=60)
