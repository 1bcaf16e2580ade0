"""Files that people hand to commands: YAML read as plain data, folders packed and sent with progress."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.errors import InvalidInputError
from cli.progress import scratch, transfer, working

if TYPE_CHECKING:
    from api.client import RegistryClient

_MOST_YAML: Final = 1 << 20


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds one mapping.

    Raises:
        OSError: it cannot be read.
        InvalidInputError: not YAML, or something else than a mapping.
    """
    from cubes import strict_yaml

    try:
        found = strict_yaml.load(path.read_text(encoding="utf-8"), max_bytes=_MOST_YAML)
    except (strict_yaml.StrictYamlError, UnicodeDecodeError) as problem:
        raise InvalidInputError(f"{str(path)!r} is not plain YAML, {problem}") from None
    if not isinstance(found, dict):
        raise InvalidInputError(f"{str(path)!r} is not a mapping: write `name: value` lines")
    return found


def merged(path: Path, given: dict[str, Any], **named: Any) -> dict[str, Any]:
    """What a file says and what options say, which may not both name the same.

    Raises:
        InvalidInputError: the file holds a key that an option gives.
    """
    if twice := sorted(given.keys() & named.keys()):
        raise InvalidInputError(f"{str(path)!r} holds {twice[0]!r}, which is given by an option: remove it there")
    return {**given, **named}


def send_folder(client: "RegistryClient", folder: Path, label: str) -> str:
    """Pack a folder, the same on every machine, and upload it; nothing of it stays behind here.

    Returns:
        The digest by which it is known from now on.

    Raises:
        cubes.errors.PackError: nothing that can be packed.
        api.client.RegistryError: refused or unreachable.
    """
    from cubes.packing import pack_folder

    with scratch() as space:
        archive = space / "pack.tar"
        with working(f"packing {label}"):
            packed = pack_folder(folder, archive)
        with transfer(f"sending {label}", packed.size) as sent:
            return client.blobs.upload(archive, progress=sent)
