"""The `[downloads]` table of a site's settings."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class DownloadSettings(BaseModel):
    """What a site fetches for cubes from outside its registry, and how much of it it keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_gib: float = Field(default=50.0, gt=0)
    """The largest file."""
    cache_gib: float = Field(default=200.0, gt=0)
    """All kept files together; the least recently used go first."""
    plain_http: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-\[\]:]{1,255}$")], ...] = ()
    """Servers (`host:port`) that are asked without encryption. This machine always may be."""
    local_folders: tuple[Path, ...] = ()
    """Folders that `file://` may name: otherwise a cube's owner could ask for any file of the hospital."""
    hub_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+$")] = "https://huggingface.co"
    """Where `hf://` leads: the public hub or one of your own."""
