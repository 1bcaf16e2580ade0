"""A site's credentials for image registries: a file in Docker's own format, at the site alone."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.home import write_private
from agents.images.errors import CredentialsError
from agents.locks import locked


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, password=***)"


class RegistryCredentials:
    """`{"auths": {"registry": {"auth": base64 of user:password}}}`, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, registry: str) -> Login | None:
        """The login for a registry; None when there is none.

        Raises:
            CredentialsError: others may read the file, or it is not in the format.
        """
        entry = self._auths().get(registry)
        if entry is None:
            return None
        try:
            user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (KeyError, TypeError, ValueError, binascii.Error):
            colon = ""
        if not colon:
            raise CredentialsError(
                f"{str(self._path)!r} holds no user:password in base64 for {registry!r}: set it again"
            )
        return Login(user, password)

    def set(self, registry: str, login: Login) -> None:
        """Keep a login.

        Raises:
            CredentialsError: the file that is there cannot be read.
        """
        entry = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        with self._changing() as auths:
            auths[registry] = {"auth": entry}

    def remove(self, registry: str) -> None:
        with self._changing() as auths:
            auths.pop(registry, None)

    def registries(self) -> tuple[str, ...]:
        return tuple(sorted(self._auths()))

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """What is kept, for one at a time to change."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path.with_suffix(".lock")):
            auths = self._auths()
            yield auths
            write_private(self._path, json.dumps({"auths": auths}, indent=1) + "\n")

    def _auths(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_mode & 0o077:
                raise CredentialsError(f"{str(self._path)!r} is readable by others: run chmod 600 on it")
            auths = json.loads(self._path.read_text(encoding="utf-8"))["auths"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError):
            auths = None
        if not isinstance(auths, dict):
            raise CredentialsError(f'{str(self._path)!r} is not {{"auths": {{...}}}}: correct it, or set it anew')
        return auths
