"""What the layer in front of Prefect remembers: sessions, workers' tokens, failed sign-ins, and all that it refused.

One SQLite file beside the site's or the registry's own. Secrets are kept as hashes; refusals are only ever added.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, delete, func, select

from api.storage.columns import UtcDateTime, now
from api.storage.engine import WRITE, make_engine

_WINDOW: Final = timedelta(minutes=15)
_MOST_TOGETHER: Final = 5
_MOST_OF_AN_ADDRESS: Final = 30
_TRIGGERS: Final = tuple(
    f"CREATE TRIGGER IF NOT EXISTS refusal_no_{what} BEFORE {what} ON refusal BEGIN"
    " SELECT RAISE(ABORT, 'refusals are append-only'); END"
    for what in ("update", "delete")
)


class LedgerTable(SQLModel, registry=registry()):
    """The base of these tables, with a metadata of their own."""


class BrowserSession(LedgerTable, table=True):
    """A browser in which somebody is signed in. Who they are and what they may is asked for anew each time."""

    __tablename__ = "session"

    secret_hash: str = Field(primary_key=True)
    key: str = Field(index=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Worker(LedgerTable, table=True):
    """A work pool's token."""

    id: int | None = Field(default=None, primary_key=True)
    pool: str = Field(index=True)
    secret_hash: str = Field(unique=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Failure(LedgerTable, table=True):
    """A sign-in that failed."""

    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(index=True)
    address: str = Field(index=True)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime, index=True)


class Refusal(LedgerTable, table=True):
    """Something that was asked for and refused."""

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    who: str
    method: str
    path: str
    status: int
    reason: str


class Ledger:
    """The file.

    Args:
        path: made when it is missing; readable by its user alone.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._engine = make_engine(f"sqlite:///{path}")
        with self._write() as session:
            LedgerTable.metadata.create_all(session.connection())
            for trigger in _TRIGGERS:
                session.connection().execute(text(trigger))

    def close(self) -> None:
        self._engine.dispose()

    def open_session(self, key: str, life: timedelta) -> str:
        """A new session; its secret, which only the browser's cookie holds."""
        secret = secrets.token_urlsafe(32)
        with self._write() as session:
            session.exec(delete(BrowserSession).where(col(BrowserSession.expires_at) <= now()))
            session.add(BrowserSession(secret_hash=_hash(secret), key=key, expires_at=now() + life))
        return secret

    def session_key(self, secret: str) -> str | None:
        """Whose session this is; None when it has ended or never was."""
        with self._read() as session:
            found = session.get(BrowserSession, _hash(secret))
        return found.key if found is not None and found.expires_at > now() else None

    def end_session(self, secret: str) -> None:
        with self._write() as session:
            session.exec(delete(BrowserSession).where(col(BrowserSession.secret_hash) == _hash(secret)))

    def end_sessions_of(self, key: str) -> None:
        with self._write() as session:
            session.exec(delete(BrowserSession).where(col(BrowserSession.key) == key))

    def issue_worker_token(self, pool: str, *, days: int = 90) -> str:
        """A token for the workers of a pool, shown this once."""
        secret = "assay_worker_" + secrets.token_urlsafe(32)
        with self._write() as session:
            session.add(Worker(pool=pool, secret_hash=_hash(secret), expires_at=now() + timedelta(days=days)))
        return secret

    def revoke_worker_tokens(self, pool: str) -> None:
        with self._write() as session:
            for worker in session.exec(select(Worker).where(Worker.pool == pool, col(Worker.revoked_at).is_(None))):
                worker.revoked_at = now()
                session.add(worker)

    def pool_of(self, secret: str) -> str | None:
        """The work pool whose token this is."""
        with self._read() as session:
            found = session.exec(select(Worker).where(Worker.secret_hash == _hash(secret))).first()
        return found.pool if found is not None and found.revoked_at is None and found.expires_at > now() else None

    def may_try(self, email: str, address: str) -> bool:
        """Whether one more attempt to sign in is heard: five for one person from one address, thirty from one address.

        It counts as failed until `forget_failures`: while a password is looked at, others are being guessed.
        """
        with self._write() as session:
            session.exec(delete(Failure).where(col(Failure.at) <= now() - _WINDOW))
            recent = select(func.count()).where(col(Failure.address) == address, col(Failure.at) > now() - _WINDOW)
            of_address = session.exec(recent).one()
            together = session.exec(recent.where(col(Failure.email) == email)).one()
            heard = bool(together < _MOST_TOGETHER and of_address < _MOST_OF_AN_ADDRESS)
            if heard:
                session.add(Failure(email=email[:256], address=address))
            return heard

    def forget_failures(self, email: str, address: str) -> None:
        with self._write() as session:
            session.exec(delete(Failure).where(col(Failure.email) == email, col(Failure.address) == address))

    def refuse(self, *, who: str, method: str, path: str, status: int, reason: str) -> None:
        """Keep that something was refused; for ever."""
        row = Refusal(who=who[:256], method=method, path=path[:512], status=status, reason=reason[:1024])
        with self._write() as session:
            session.add(row)

    def refusals(self, *, limit: int = 100) -> list[Refusal]:
        """The latest, the newest first."""
        with self._read() as session:
            return list(session.exec(select(Refusal).order_by(col(Refusal.id).desc()).limit(limit)))

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            session.connection(execution_options=WRITE)
            yield session
            session.commit()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            yield session


def _hash(secret: str) -> str:
    # A random secret of 256 bits needs no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
