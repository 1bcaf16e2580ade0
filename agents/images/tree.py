"""A root file system while it is built from layers: whatever links it holds, every path stays below it."""

import os
import shutil
from collections import deque
from pathlib import Path
from typing import Final

from agents.images.errors import ImageRefusedError

MAX_LINKS: Final = 100
_LONGEST_PATH, _LONGEST_NAME = 4000, 255


class Tree:
    """Resolves names as a process inside would, and changes nothing outside.

    Nobody else writes below the root meanwhile: the folder is made anew and known to this process alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def inside(self, path: str) -> Path:
        """Where a path leads when the root is the root: links are followed, `..` stops at the top.

        Raises:
            ImageRefusedError: more links than a kernel would follow.
        """
        done: list[str] = []
        todo, links = deque(path.split("/")), 0
        while todo:
            part = todo.popleft()
            if part in {"", "."}:
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = self.root.joinpath(*done, part)
            if not here.is_symlink():
                done.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                raise ImageRefusedError(f"{path!r} leads through more than {MAX_LINKS} links")
            target = str(here.readlink())
            done = [] if target.startswith("/") else done
            todo.extendleft(reversed(target.split("/")))
        return self.root.joinpath(*done)

    def entry(self, name: str) -> Path:
        """Where an entry of an archive belongs; folders above it are made. Its own last part is not followed.

        Raises:
            ImageRefusedError: a name with `..`, an empty one, or one below something that is no folder.
        """
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if not parts or ".." in parts:
            raise ImageRefusedError(f"{name!r} is not a clean name")
        if len(name) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts) or "\0" in name:
            raise ImageRefusedError(f"{name[:100]!r}... is too long a name")
        parent = self.inside("/".join(parts[:-1]))
        try:
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ImageRefusedError(f"{name!r} lies below something that is no folder") from None
        return parent / parts[-1]

    def clear(self, path: Path) -> None:
        """Remove what is there; a link itself, never what it points to."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
