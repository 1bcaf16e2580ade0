"""Blobs as they travel."""

from api.schemas.common import Strict
from cubes.digests import Digest


class BlobPublic(Strict):
    digest: Digest
    size: int
