"""Cubes and models as they travel."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from api.schemas.common import Id, Line, Name, Stamped, Strict, Text
from cubes.attachments import Attachment, AttachmentKind
from cubes.digests import Digest


class CubeKind(StrEnum):
    DATA_PREPARATOR = "data_preparator"
    MODEL = "model"
    METRICS = "metrics"
    SCRIPT = "script"
    """Runs model files that somebody else gives it; everybody who is signed in may have it."""


class CubeAttachment(Attachment, Strict):
    """A document that a cube's owner attached; a later one of its kind takes its place, and this one is remembered."""

    attached_at: datetime


class AttachmentCreate(Strict):
    """A document to attach to a cube that is registered; a cube itself never changes."""

    kind: AttachmentKind
    digest: Digest
    """Of the document, uploaded before to `/blobs`."""


class CubeCreate(Strict):
    name: Name
    kind: CubeKind
    pack_digest: Digest
    """Digest of the deterministic tar of the cube's folder, uploaded before to `/blobs`."""
    additional_files_digest: Digest | None = None
    """Digest of a `.tar` of additional files (weights, atlases), uploaded before to `/blobs`."""
    parameters: dict[str, Any] = Field(default={}, max_length=200)
    description: Text = ""
    sbom_digest: Digest | None = None
    """Digest of a bill of materials (CycloneDX or SPDX JSON), uploaded before to `/blobs`."""
    vulnerabilities_digest: Digest | None = None
    """Digest of a vulnerability report (CycloneDX, Trivy or Grype JSON), uploaded before to `/blobs`."""


class CubePublic(Stamped):
    name: str
    kind: CubeKind
    pack_digest: Digest
    additional_files_digest: Digest | None
    parameters: dict[str, Any]
    parameters_digest: Digest | None
    """Digest of the canonical JSON of `parameters`; none when there are no parameters."""
    description: str
    owner_id: int
    contract: dict[str, Any]
    """The parsed `container_config.yaml` from inside the pack."""
    attachments: list[CubeAttachment] = Field(default=[])
    """The newest of each kind."""


class CubeRef(Strict):
    """Everything a site needs to fetch and run one cube: what was approved is what runs."""

    id: int
    name: str
    kind: CubeKind
    pack_digest: Digest
    additional_files_digest: Digest | None
    parameters: dict[str, Any]
    parameters_digest: Digest | None
    attachments: list[CubeAttachment] = Field(default=[], max_length=2)
    """What its owner says of what is inside; nobody here has checked it."""


class ModelCreate(Strict):
    """A model: a cube of kind `model` and the card that people read before they let it in."""

    name: Name
    cube_id: Id
    title: Line
    intended_use: Text
    training_data: Text
    architecture: Line
    licence: Line
    contact: Line


class ModelPublic(Stamped):
    name: str
    cube_id: int
    owner_id: int
    organization_id: int
    title: str
    intended_use: str
    training_data: str
    architecture: str
    licence: str
    contact: str
