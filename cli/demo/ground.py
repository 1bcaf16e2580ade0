"""Where a federation stands: on this machine, or in a cluster. The story is the same on either."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cli.demo.cast import Hospital
from cli.demo.stage import Stage

if TYPE_CHECKING:
    from cli.demo.setting import Setting

REFERENCE: Final = Path(__file__).parents[2] / "cubes" / "breast_fna"


class Ground(Protocol):
    """What differs between the two. Leaving the block takes away what was made, also after Ctrl-C or an error."""

    where: str
    """For the first line: the federation is ..."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def prepare(self, stage: Stage) -> None:
        """Make what the federation is made of."""

    def cube(self, name: str) -> Path:
        """The folder by which a cube of the reference benchmark is registered."""

    def raise_registry(self, stage: Stage, setting: "Setting") -> None:
        """Begin to make a registry; it is not waited for."""

    def wait_for_registry(self, stage: Stage, setting: "Setting") -> None:
        """Until it answers at the address in the setting, and its administrator has a token."""

    def open_site(self, stage: Stage, setting: "Setting", hospital: Hospital, token: str) -> None:
        """Begin to make a hospital's site, with its token for the registry; its agent is not waited for."""

    def wait_for_site(self, stage: Stage, setting: "Setting", hospital: Hospital) -> None:
        """Until its people can type commands there, and its data lie where `hospital.raw` says."""

    def has_heard(self, hospital: Hospital, benchmark: str) -> bool:
        """Whether the agent knows of a benchmark."""

    def images(self) -> dict[str, Any]:
        """Of the application and the cubes, by digest; empty where everything is a folder."""

    def pages(self, setting: "Setting", hospital: Hospital) -> str:
        """The address of a site's pages on this machine."""
