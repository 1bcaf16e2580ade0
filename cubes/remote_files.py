"""Additional files that do not travel with a cube: its pack says where they lie, and which bytes they must be."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from cubes import strict_yaml
from cubes.digests import Digest
from cubes.errors import ContractError

REMOTE_FILES: Final = "additional_files.yaml"
MAX_BYTES: Final = 8 * 1024


class RemoteFiles(BaseModel):
    """A `.tar` or `.tar.gz` at a URL. The pack that holds this is named by its digest, and so these files are too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^[a-z]+:[^\s\x00-\x1f]+$", max_length=2_000)]
    digest: Digest


def remote_files(folder: Path) -> RemoteFiles | None:
    """What a cube's folder says about additional files elsewhere; None when it says nothing.

    Raises:
        ContractError: it cannot be read.
    """
    path = folder / REMOTE_FILES
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()[: MAX_BYTES + 1].decode("utf-8")
        return RemoteFiles.model_validate(strict_yaml.load(text, max_bytes=MAX_BYTES))
    except (OSError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(map(str, first["loc"])) if first else "file"
        said = first["msg"] if first else str(error)
        raise ContractError(
            str(path), where or "document", said, "Write `url: https://...` and `digest: sha256:...`."
        ) from None
