"""The registry's settings: one folder, and what an operator may change about it. Unsafe ones are refused at start."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.schemas.sign_in import encrypted_issuer

_KEY_BYTES: Final = 32


class SettingsError(Exception):
    """The registry cannot start as it is set up. The message says what to do."""


class RegistrySettings(BaseSettings):
    """Read from `ASSAY_REGISTRY_*`; `data` alone is needed."""

    model_config = SettingsConfigDict(env_prefix="ASSAY_REGISTRY_", frozen=True, extra="forbid")

    data: Path
    """Folder of blobs, secrets and, without `database_url`, of the database."""
    database_url: str | None = None
    """`postgresql+psycopg://...` or `sqlite:///...`; a SQLite file in `data` when left out."""
    max_blob_bytes: int = Field(default=20 << 30, ge=1)
    max_body_bytes: int = Field(default=1 << 20, ge=1 << 16)
    """Of every request but an upload."""
    session_hours: float = Field(default=12.0, gt=0, le=24 * 30)
    """How long somebody stays signed in to the pages of reviews."""
    issuer: str | None = None
    """An OpenID Connect provider's; without one people sign in to pages with a password or a personal token. Its secret
    lies in `secrets/single-sign-on.secret`."""
    client_id: str = "assay"
    provider_title: str = "your institution's account"
    """For the button on the sign-in page."""
    prefect_separate: bool = False
    """Prefect's server in a process of its own; else it lives in the registry's."""
    trusted_proxies: str = ""
    """Addresses of proxies in front of the pages whose `X-Forwarded-*` are believed, with commas between."""

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'registry.sqlite'}"

    @property
    def blobs(self) -> Path:
        return self.data / "blobs"

    @property
    def ledger_file(self) -> Path:
        """Sessions, and what was refused in front of Prefect."""
        return self.data / "sign-in.sqlite"

    @property
    def single_sign_on_file(self) -> Path:
        return self.data / "secrets" / "single-sign-on.secret"

    @field_validator("issuer")
    @classmethod
    def _is_encrypted(cls, issuer: str | None) -> str | None:
        return encrypted_issuer(issuer)

    @property
    def audit_key_file(self) -> Path:
        return self.data / "secrets" / "audit.key"

    def audit_key(self) -> bytes:
        """The key of the audit log's chain.

        Raises:
            SettingsError: missing, too short, or readable by others.
        """
        path = self.audit_key_file
        try:
            mode, key = path.stat().st_mode & 0o077, bytes.fromhex(path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            raise SettingsError(
                f"{str(path)!r} does not exist: run `assay registry init --data {self.data}` first"
            ) from None
        except ValueError:
            raise SettingsError(f"{str(path)!r} is not a key: 64 hexadecimal digits are wanted") from None
        if mode:
            raise SettingsError(f"{str(path)!r} is readable by others: run chmod 600 on it")
        if len(key) < _KEY_BYTES or len(set(key)) == 1:
            raise SettingsError(f"{str(path)!r} holds a key that is too weak: 32 random bytes are wanted")
        return key


def create_data_folder(data: Path) -> None:
    """Make the registry's folder with a fresh audit key; an existing key stays.

    Raises:
        OSError: the folder cannot be made.
    """
    secrets_folder = data / "secrets"
    for folder in (data, secrets_folder, data / "blobs"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file = secrets_folder / "audit.key"
    if not key_file.exists():
        _write_key(key_file)


def _write_key(path: Path) -> None:
    """All of a fresh key or nothing; one that somebody else wrote meanwhile stays."""
    with NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:  # its owner's alone
        file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)
