"""Cubes: registered once and never changed; what their owners attach is renewed."""

from typing import TYPE_CHECKING

from api.client.noun import Listed, Noun
from api.schemas.cubes import AttachmentCreate, CubeAttachment, CubeCreate, CubePublic

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - inside the classes `list` is the method


class Cubes(Noun[CubePublic, CubeCreate]):
    """Cubes; `name`, `kind` and `owner_id` filter."""

    def attachments(self, cube_id: int) -> "List[CubeAttachment]":
        """Every document that was ever attached, oldest first."""
        return list(Listed(self._transport, f"{self._path}/{cube_id}/attachments", CubeAttachment).all())

    def attach(self, cube_id: int, new: AttachmentCreate) -> CubePublic:
        """Attach a document in the place of an earlier one of its kind.

        Raises:
            Refused: 409 when it is attached already, 422 when it is no document of a known format.
        """
        return self._transport.post(f"{self._path}/{cube_id}/attachments", CubePublic, new)
