"""What was carried to a site: blobs by digest, asked before the registry; and which bundle was the last."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from agents.errors import HomeError
from agents.home import write_private
from cubes.digests import Digest


class LastImport(BaseModel):
    """The newest bundle that was imported: nothing older is ever taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Digest
    written_at: datetime
    audit_sequence: int


class Carried:
    """Blobs below one folder, and what the last bundle was."""

    def __init__(self, folder: Path, fetch: Callable[[str, Path], None]) -> None:
        self.folder, self._fetch = folder, fetch

    def fetch(self, digest: str, target: Path) -> None:
        """Write a blob into a file: from what was carried here, or from the registry.

        Raises:
            api.client.RegistryError: it was not carried here, and the registry is away or has it not.
        """
        here = self.folder / digest.removeprefix("sha256:")
        if here.is_file():
            shutil.copyfile(here, target)
        else:
            self._fetch(digest, target)

    def keep(self, blob: Path, digest: str) -> None:
        """Move a verified blob here."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        blob.replace(self.folder / digest.removeprefix("sha256:"))

    @property
    def last(self) -> LastImport | None:
        """The newest import.

        Raises:
            HomeError: what is known of it cannot be read: an old bundle could pass for a new one.
        """
        path = self.folder / "last.json"
        try:
            return LastImport.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise HomeError(f"{str(path)!r} cannot be read ({error}): restore it from a copy of this site") from error

    def note(self, last: LastImport) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.folder / "last.json", last.model_dump_json())
