"""How the registry takes what a site sends: small, once, and for something of the site's own."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import Depends, Request

from api.access.acting import Act, ActDep, key
from api.access.identity import CurrentSite
from api.core.errors import InvalidInputError, NotFoundError, TooLargeError
from api.core.idempotency import IdempotencyKey, keep, recall
from api.core.rows import lock
from api.nouns.datasets.tables import Dataset
from api.nouns.sites.tables import Site
from api.schemas.benchmarks import Verdict
from api.schemas.border import MAX_PAYLOAD_BYTES, Received, SiteDecision
from api.schemas.common import Strict
from api.storage.columns import now
from cubes.digests import digest_of

_CLOCKS_DIFFER: Final = timedelta(days=1)


async def _small(request: Request) -> None:
    """Refuse more than a payload may have; FastAPI has read the body already, within the limit of every request."""
    size = len(await request.body())
    if size > MAX_PAYLOAD_BYTES:
        raise TooLargeError(
            f"the payload has {size} bytes, more than {MAX_PAYLOAD_BYTES}.",
            "Aggregate further before it leaves the site.",
        )


class Receiving:
    """One payload of a site, under its key."""

    def __init__(
        self, act: ActDep, site: CurrentSite, idempotency_key: IdempotencyKey, _size: Annotated[None, Depends(_small)]
    ) -> None:
        self.act: Act = act
        self.site, self._key = site, idempotency_key

    @property
    def site_id(self) -> int:
        return key(self.site.id)

    def once(self, payload: Strict, write: Callable[[], int]) -> Received:
        """Do what a payload asks, unless it was done before under the same key: then the answer is the same.

        Raises:
            ConflictError: the key was used for something else.
        """
        # One payload of a site after the other: two copies at the same moment are one write.
        lock(self.act.session, Site, self.site_id)
        actor, body = self.act.principal.actor, digest_of(payload.model_dump(mode="json"))
        kept = recall(self.act.session, actor=actor, key=self._key, body_digest=body)
        if kept is not None:
            return Received.model_validate(kept)
        answer = Received(id=write())
        keep(self.act.session, actor=actor, key=self._key, body_digest=body, answer=answer.model_dump())
        return answer

    def own_dataset(self, dataset_id: int) -> Dataset:
        """A dataset of the site's own.

        Raises:
            NotFoundError: there is none; the same answer for another site's.
        """
        dataset = self.act.session.get(Dataset, dataset_id)
        if dataset is None or dataset.site_id != self.site_id:
            raise NotFoundError(f"site {self.site.name!r} has no dataset {dataset_id!r}.", "Register it first.")
        return dataset


ReceivingDep = Annotated[Receiving, Depends(scope="function")]


def check_decision(decision: SiteDecision, gate: str) -> None:
    """A person at the site approved it, at the right gate, and not in times to come.

    Raises:
        InvalidInputError: what is wrong with it.
    """
    if decision.verdict != Verdict.APPROVE:
        raise InvalidInputError(f"{decision.person!r} did not approve this.", "Only what was approved leaves a site.")
    if decision.gate != gate:
        raise InvalidInputError(f"the decision is of the gate {decision.gate!r}, not {gate!r}.", "Send the right one.")
    check_past("the decision", decision.decided_at)


def check_past(what: str, moment: datetime) -> None:
    """Refuse a moment that is to come, give or take what clocks differ.

    Raises:
        InvalidInputError: says the moment.
    """
    if moment > now() + _CLOCKS_DIFFER:
        raise InvalidInputError(f"{what} is of {moment:%Y-%m-%d %H:%M} UTC, which is to come.", "Set the site's clock.")
