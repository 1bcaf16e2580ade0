"""What the layer in front of Prefect asks of those who keep people and gates: a site's store, or the registry.

All of it may block; the layer calls it in threads. Refusals are `DeskError`s, whose message a person may read.
"""

from typing import Protocol

from api.schemas.sign_in import Answer, GateCard, SignedIn


class People(Protocol):
    """Who is who, as of now: roles are asked for with every request, not remembered with a session."""

    def by_password(self, email: str, password: str) -> SignedIn:
        """Raises DeskError (401) for anything that does not fit; it never says what."""
        ...

    def by_token(self, secret: str) -> SignedIn:
        """Raises DeskError (401): unknown, expired or revoked."""
        ...

    def by_subject(self, issuer: str, subject: str, email: str) -> SignedIn:
        """Somebody whom an identity provider has signed in, with an address that it has verified.

        Raises DeskError (403) for whoever is not known here: a provider proves who somebody is, not that they belong here.
        """
        ...

    def by_key(self, key: str) -> SignedIn | None:
        """Whoever a session belongs to; None when they may no longer sign in."""
        ...


class Gates(Protocol):
    """Gates and the decisions at them."""

    def waiting(self, who: SignedIn) -> list[GateCard]:
        """Gates that wait for a decision and that somebody may look at."""
        ...

    def get(self, who: SignedIn, gate_id: str) -> GateCard:
        """Raises DeskError (404, 403)."""
        ...

    def of_run(self, flow_run_id: str) -> GateCard | None:
        """The gate at which a flow run rests, if it does."""
        ...

    def may_read(self, who: SignedIn, flow_run_id: str) -> bool:
        """Whether a person may read what a flow run's gate shows: nobody may have approved it yet."""
        ...

    def decide(self, who: SignedIn, gate_id: str, answer: Answer) -> GateCard:
        """Write a decision.

        Returns:
            The gate with it; not yet decided where more people must agree.

        Raises:
            DeskError: may not decide (403), decided, expired, superseded or about something else (409), unusable (422).
        """
        ...

    def woken(self, gate_id: str) -> None:
        """The gate's flow run was woken with its decision."""
        ...
