"""Small images and a registry that can lie: real HTTP on the loopback, everything else as a registry does it."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents.images.documents import ImageLimits, architecture
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from cubes.image_reference import ImageReference, parse_reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Entry = tuple[str, dict[str, Any], bytes]


def _sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(entries: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, changes, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


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
        packed = [gzip.compress(layer, mtime=0) for layer in self.layers]
        return {_sha(blob): blob for blob in (self.config, *packed)}

    @property
    def manifest(self) -> bytes:
        def descriptor(blob: bytes) -> dict[str, Any]:
            return {"digest": _sha(blob), "size": len(blob), "mediaType": "application/octet-stream"}

        packed = [gzip.compress(layer, mtime=0) for layer in self.layers]
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(self.config),
                "layers": [descriptor(blob) for blob in packed],
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
        path.write_bytes(_layer([(name, {}, content) for name, content in files.items()]))
        return path


@pytest.fixture
def make_image() -> Callable[..., Image]:
    """Layers as lists of (name, changes of the tar entry, content)."""

    def make(*layers: list[Entry], process: dict[str, Any] | None = None, machine: str | None = None) -> Image:
        return Image([_layer(entries) for entries in layers], process or {}, machine or architecture())

    return make


@dataclass
class Registry:
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
    registry: Registry

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
        found = self.registry.blobs.get(last) if kind == "blobs" else self.registry.manifests.get(f"{name}:{last}")
        self._answer(404 if found is None else 200, found or b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    held = Registry()
    handler = type("Handler", (_Handler,), {"registry": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        held.address = f"127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield held
        server.shutdown()
        serving.join()


@pytest.fixture
def access() -> RegistryAccess:
    return RegistryAccess(pause_s=0.01, timeout_s=10)


@pytest.fixture
def store(tmp_path: Path, access: RegistryAccess) -> ImageStore:
    limits = ImageLimits(unpacked_bytes=1 << 20, entries=100)
    return ImageStore(tmp_path / "images", lambda reference: closing(RegistrySource(reference, access)), limits)
