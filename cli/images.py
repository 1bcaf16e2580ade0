"""Images as a command meets them: a tag looked up once, and a task run by hand."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import note

if TYPE_CHECKING:
    from agents.images.cube_images import CubeImages
    from agents.images.pinning import Pinned
    from agents.images.registry import RegistryAccess
    from cubes.image_reference import ImageReference

PlainHttp = Annotated[
    list[str] | None,
    typer.Option("--plain-http", metavar="HOST:PORT", help="An image registry without encryption. May be repeated."),
]
Logins = Annotated[
    Path | None,
    typer.Option(
        "--logins", metavar="FILE", help='Logins for image registries: {"auths": {...}}, as Docker keeps them.'
    ),
]


@contextmanager
def pinned(folder: Path, plain_http: list[str] | None, logins: Path | None) -> "Iterator[Pinned]":
    """A cube's folder whose contract names its image by digest; says on stderr what a tag meant.

    Raises:
        ContractError: the contract cannot be used.
        agents.images.errors.ImageError: the image cannot be found.
    """
    from agents.images.pinning import pinned_folder

    with pinned_folder(folder, _resolve(access(plain_http, logins))) as found:
        if found.reference is not None:
            note(f"The image is {found.reference}: that digest is what is registered.")
        yield found


def access(plain_http: list[str] | None, logins: Path | None) -> "RegistryAccess":
    """How image registries are asked on this machine."""
    from agents.images.credentials import RegistryCredentials
    from agents.images.registry import RegistryAccess

    hosts = frozenset(plain_http or ())
    return (
        RegistryAccess(plain_http=hosts) if logins is None else RegistryAccess(RegistryCredentials(logins).get, hosts)
    )


def images_in(folder: Path, known: "RegistryAccess") -> "CubeImages":
    """Images kept below a folder."""
    from agents.images.cube_images import CubeImages
    from agents.images.registry import RegistrySource
    from agents.images.store import ImageStore

    return CubeImages(ImageStore(folder, lambda reference: closing(RegistrySource(reference, known))))


def _resolve(known: "RegistryAccess") -> "Callable[[ImageReference], str]":
    from agents.images.registry import RegistrySource

    def resolve(reference: "ImageReference") -> str:
        with closing(RegistrySource(reference, known)) as source:
            return source.resolve()

    return resolve
