"""Passwords of people who sign in to pages: kept as argon2id hashes, at a site and at the registry alike."""

import secrets
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST: Final = 12
LONGEST: Final = 1024
WISH: Final = f"a password has between {SHORTEST} and {LONGEST} characters: a sentence will do"


def is_usable(password: str) -> bool:
    """Whether it is long enough: length is what makes a password hard to guess."""
    return SHORTEST <= len(password) <= LONGEST


def hash_password(password: str) -> str:
    """What is kept of a password. It takes its time, on purpose."""
    return _hasher().hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether a password is the one that was kept; it takes as long where none was."""
    right = len(password) <= LONGEST and _hasher().verify(password, kept or _nobodys_hash())
    return right and kept is not None


@cache
def _hasher() -> "PasswordHash":
    from pwdlib import PasswordHash  # noqa: PLC0415 - most commands sign nobody in with a password

    return PasswordHash.recommended()  # argon2id


@cache
def _nobodys_hash() -> str:
    return hash_password(secrets.token_urlsafe(16))
