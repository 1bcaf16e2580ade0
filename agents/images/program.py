"""What of an image runs, and as whom: the image's own wishes, and what a contract says instead."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.images.documents import ProcessConfig
from agents.images.errors import ImageRefusedError
from agents.images.tree import Tree
from cubes.contract import RunArgs

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_PASSWD_BYTES: Final = 1 << 20
_LARGEST_USER: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Program:
    """One call."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    """The image's own; what the runtime and the contract say comes on top."""
    directory: str
    user: int | None
    """None where the image names nobody, or root: the runtime chooses then, and never root."""


def program_of(process: ProcessConfig, run_args: RunArgs, root: Path) -> Program:
    """The call of an image, as an engine would make it.

    Args:
        process: what the image says.
        run_args: what the contract says: `command` replaces the image's and follows its entrypoint; with an
            `entrypoint` of the contract's own, the image's command is forgotten too.
        root: the unpacked image, where user names are looked up.

    Raises:
        ImageRefusedError: there is nothing to run, or nobody to run it as.
    """
    entrypoint = run_args.entrypoint or process.entrypoint
    command = run_args.command or (() if run_args.entrypoint else process.command)
    words = (*entrypoint, *command)
    if not words:
        raise ImageRefusedError(
            "the image has neither an entrypoint nor a command: say run_args.command in the contract"
        )
    return Program(words, _environment(process), process.working_directory or "/", _user(process.user, root))


def _environment(process: ProcessConfig) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in process.environment)
    return {"PATH": SEARCH_PATH} | {name: value for name, equals, value in pairs if name and equals}


def _user(wanted: str, root: Path) -> int | None:
    """The number of `1000`, `1000:1000`, `name` or `name:group`."""
    name = wanted.partition(":")[0]
    number = int(name) if re.fullmatch(r"[0-9]{1,10}", name) else _number_of(name, root)
    if number is not None and number > _LARGEST_USER:
        raise ImageRefusedError(f"the image's user {wanted!r} is out of range: name another with USER")
    return number or None


def _number_of(name: str, root: Path) -> int | None:
    if not name or name == "root":
        return None
    path = Tree(root).inside("/etc/passwd")
    if path.is_file():
        with path.open("rb") as file:
            text = file.read(_MAX_PASSWD_BYTES).decode(errors="replace")
        for line in text.splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > 2 and fields[2].isdigit():  # noqa: PLR2004 - name, password, number
                return int(fields[2])
    raise ImageRefusedError(f"the image's user {name!r} is not in its /etc/passwd: name one by number with USER")
