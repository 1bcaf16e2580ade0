"""Registration: a tag becomes a digest once, in the pack itself, so that nothing later can resolve it differently."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cubes import strict_yaml
from cubes.contract import CONTRACT_FILES, ContainerType, load_contract, parse_contract
from cubes.errors import ContractError
from cubes.image_reference import ImageReference

Resolve = Callable[[ImageReference], str]
"""The digest that a reference's tag names now."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A cube's folder whose contract names bytes."""

    folder: Path
    reference: ImageReference | None
    """The image with its digest; None where the cube has none in a registry, or named a digest already."""


@contextmanager
def pinned_folder(folder: Path, resolve: Resolve) -> Iterator[Pinned]:
    """A cube's folder to be packed: itself, or a copy whose contract names its image by digest.

    Raises:
        ContractError: the contract cannot be used, or is of a kind that runs nowhere.
        agents.images.errors.ImageError: the image cannot be found.
    """
    contract = load_contract(folder)
    if contract.container_type.unsupported is not None:
        raise ContractError(
            str(folder), "container_type", contract.container_type.unsupported, "Then register the cube again."
        )
    if contract.container_type != ContainerType.DOCKER_IMAGE or contract.unpinned is None:
        yield Pinned(folder, None)
        return
    pinned = contract.reference.pinned(resolve(contract.reference))
    with TemporaryDirectory(prefix="assay-pin-") as scratch:
        copy = Path(scratch) / folder.resolve().name
        shutil.copytree(folder, copy, symlinks=True)
        (name,) = [name for name in CONTRACT_FILES if (copy / name).is_file()]
        path = copy / name
        text = pinned_text(path.read_text(encoding="utf-8"), pinned, str(folder / name))
        path.unlink()
        path.write_text(text, encoding="utf-8")
        yield Pinned(copy, pinned)


def pinned_text(text: str, reference: ImageReference, source: str) -> str:
    """A contract with its image replaced, and nothing else changed: comments and order stay.

    Raises:
        ContractError: the file names no image that could be replaced.
    """
    for keys in (("image",), ("docker", "image")):
        span = strict_yaml.scalar_span(text, keys)
        if span is not None:
            changed = text[: span[0]] + f'"{reference}"' + text[span[1] :]
            if parse_contract(changed, source).reference == reference:
                return changed
    raise ContractError(source, "image", "names no image that could be pinned", "Write the image as one plain value.")
