"""Which registry, which site, which tokens: the environment first, then a profile kept in the user's own folder."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from cli.errors import NotSetUpError, NotSignedInError

DEFAULT: Final = "default"
_VARIABLES: Final = {
    "registry_url": "ASSAY_REGISTRY_URL",
    "token": "ASSAY_TOKEN",
    "site_home": "ASSAY_SITE_HOME",
    "site_token": "ASSAY_SITE_TOKEN",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A registry and a person's token for it; a site's folder on this machine and a person's token for it."""

    registry_url: str | None = None
    token: str | None = None
    site_home: str | None = None
    site_token: str | None = None

    def registry(self) -> tuple[str, str]:
        """Address and token of the registry.

        Raises:
            NotSetUpError: nothing says which registry.
            NotSignedInError: there is no token for it.
        """
        url = self.registry_address()
        if not self.token:
            raise NotSignedInError(f"no token for {url!r}: run `assay login --registry {url}`, or set ASSAY_TOKEN")
        return url, self.token

    def registry_address(self) -> str:
        """Address of the registry.

        Raises:
            NotSetUpError: nothing says which registry.
        """
        if not self.registry_url:
            raise NotSetUpError(
                "no registry is named: run `assay login --registry URL`, or set ASSAY_REGISTRY_URL and ASSAY_TOKEN"
            )
        return self.registry_url

    def home(self) -> Path:
        """The site's folder.

        Raises:
            NotSetUpError: nothing says which.
        """
        if not self.site_home:
            raise NotSetUpError("no site is named: run `assay login --site FOLDER`, or set ASSAY_SITE_HOME")
        return Path(self.site_home)

    def person(self) -> str:
        """The person's token at the site.

        Raises:
            NotSignedInError: there is none.
        """
        if not self.site_token:
            raise NotSignedInError(
                f"no token for the site in {self.site_home!r}: run `assay login --site {self.site_home}`,"
                " or set ASSAY_SITE_TOKEN"
            )
        return self.site_token


def current() -> Profile:
    """The profile in force: what the environment says, and the kept profile for the rest."""
    kept = kept_profiles().get(chosen_name(), Profile())
    named = {field: value for field, name in _VARIABLES.items() if (value := os.environ.get(name))}
    # A token is for the registry or the site that issued it, and shown to no other.
    if named.get("registry_url", kept.registry_url) != kept.registry_url:
        kept = replace(kept, token=None)
    if named.get("site_home", kept.site_home) != kept.site_home:
        kept = replace(kept, site_token=None)
    return replace(kept, **named)


def chosen_name() -> str:
    return os.environ.get("ASSAY_PROFILE") or DEFAULT


def profiles_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "assay" / "profiles.json"


def kept_profiles() -> dict[str, Profile]:
    """All profiles that were kept, by name.

    Raises:
        NotSetUpError: the file is readable by others, or is not what was written.
    """
    path = profiles_file()
    try:
        mode = path.stat().st_mode & 0o077
        if mode:
            raise NotSetUpError(f"{str(path)!r} holds tokens and is readable by others: run chmod 600 on it")
        return {name: Profile(**values) for name, values in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise NotSetUpError(f"{str(path)!r} cannot be read: mend it, or remove it and sign in again") from error


def keep(name: str, profile: Profile) -> Path:
    """Keep a profile under a name; what it leaves out stays as it was. Only its owner can read the file."""
    said = {field: value for field, value in asdict(profile).items() if value is not None}
    with _alone():
        profiles = kept_profiles()
        return _write({**profiles, name: replace(profiles.get(name, Profile()), **said)})


def forget(name: str) -> bool:
    """Forget the tokens of a profile; where they were for stays.

    Returns:
        Whether there were any.
    """
    with _alone():
        profiles = kept_profiles()
        found = profiles.get(name)
        if found is None or not (found.token or found.site_token):
            return False
        _write({**profiles, name: replace(found, token=None, site_token=None)})
        return True


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time changes profiles: a token that another one keeps meanwhile would be lost."""
    from agents.locks import locked

    path = profiles_file().with_suffix(".lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path):
        yield


def _write(profiles: Mapping[str, Profile]) -> Path:
    path = profiles_file()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({name: asdict(profile) for name, profile in sorted(profiles.items())}, file, indent=2)
    temporary.replace(path)
    return path
