"""Bills of materials and vulnerability reports: given with a cube, or later."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.client import RegistryClient
    from api.schemas.cubes import CubePublic


def check_attachments(files: Mapping[str, Path | None]) -> None:
    """Read each as the registry will, before anything large travels.

    Raises:
        OSError: a file cannot be read.
        cubes.errors.ReportError: it is no document of a known format.
    """
    from cubes.attachments import MAX_ATTACHMENT_BYTES, AttachmentKind, describe_attachment

    for kind, path in files.items():
        if path is not None:
            with path.open("rb") as file:
                describe_attachment(file.read(MAX_ATTACHMENT_BYTES + 1), AttachmentKind(kind))


def send_attachments(client: "RegistryClient", files: Mapping[str, Path | None]) -> dict[str, str]:
    """Upload those that are given; under which key of a cube each digest goes."""
    return {f"{kind}_digest": client.blobs.upload(path) for kind, path in files.items() if path is not None}


def attach_each(client: "RegistryClient", cube_id: int, files: Mapping[str, Path | None]) -> "CubePublic":
    """Attach those that are given to a cube that is registered; the cube afterwards."""
    from api.schemas.cubes import AttachmentCreate
    from cubes.attachments import AttachmentKind

    cube = client.cubes.get(cube_id)
    for kind, path in files.items():
        if path is not None:
            new = AttachmentCreate(kind=AttachmentKind(kind), digest=client.blobs.upload(path))
            cube = client.cubes.attach(cube_id, new)
    return cube
