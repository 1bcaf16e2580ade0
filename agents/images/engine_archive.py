"""An archive that any container engine loads, made of parts that were verified on their way into it."""

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from agents.images.documents import ImageLimits
from agents.images.source import ImageSource
from agents.images.store import resolve_image


def write_engine_archive(source: ImageSource, digest: str, name: str, target: IO[bytes], limits: ImageLimits) -> str:
    """Write an image as `docker save` would.

    Returns:
        What the engine will call the image: the digest of its configuration.

    Raises:
        ImageError: a part cannot be had, or is not what its digest says.
    """
    resolved = resolve_image(source, digest, name, limits)
    config = source.document(resolved.manifest.config)
    identifier = resolved.manifest.config.digest
    file_name = f"{identifier.removeprefix('sha256:')}.json"
    layers = [f"{number}.tar" for number in range(len(resolved.manifest.layers))]
    with tarfile.open(fileobj=target, mode="w") as tar, tempfile.TemporaryDirectory() as scratch:
        _add(tar, file_name, config)
        for layer, descriptor in zip(layers, resolved.manifest.layers, strict=True):
            path = Path(scratch) / layer
            source.layer(descriptor, path)
            tar.add(path, layer)
            path.unlink()
        manifest = [{"Config": file_name, "RepoTags": None, "Layers": layers}]
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return identifier


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
