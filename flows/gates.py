"""Gates: places where a flow rests until a person has decided.

Prefect only waits. It does not know who resumed a run, and whoever reaches its API can forge an answer or set a state
by hand. So nothing that comes from Prefect opens a gate. A flow that arrives at a gate, for the first time or after any
kind of waking, computes what is to be approved *now*, asks our own book for a decision about exactly that, and without
one suspends again, under a key that was never used: a key that Prefect has seen before lets a run straight through.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from uuid import uuid4

import anyio
from prefect import get_run_logger
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run as this_run
from pydantic import Field, ValidationError, create_model

from agents.errors import AgentError
from cubes.digests import digest_of

Shown = dict[str, Any]
_TRIES: Final = 3


class GateError(AgentError):
    """The gate could neither be decided nor rest: the flow ends without what it asked for."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a gate, as our book holds it."""

    gate_id: str
    verdict: str
    """`approve` or `reject`; anything else approves nothing."""
    person: str
    decided_at: datetime
    digest: str
    """The digest of what the person was shown."""
    reason: str
    withheld: tuple[str, ...] = ()
    """Items that the person took out while approving the rest."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What was approved: payloads are made from this, not from what may have changed since."""


class GateRejected(Exception):  # noqa: N818 - an outcome, not a fault: the flow ends in peace
    """A person said no."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"rejected by {decision.person}: {decision.reason}")
        self.decision = decision


class GateBook(Protocol):
    """Where gates and decisions are kept: a site's store, or the registry."""

    def open_gate(self, *, name: str, title: str, subject: str, shown: Shown, flow_run_id: str) -> str:
        """The identifier of the gate about exactly `shown` in this flow run; opened unless it is open already."""
        ...

    def decision(self, gate_id: str) -> Decision | None:
        """The decision, if there is one that counts: by somebody who may (still) decide, for what the gate shows."""
        ...

    def suspended(self, gate_id: str) -> None:
        """The flow run is about to rest at this gate: from now on a decision may wake it."""
        ...


class GateAnswer(RunInput):
    """The form that Prefect's pages show. An answer given there counts once our sign-in layer has made it a decision."""

    verdict: Literal["approve", "reject"] = Field(description="May this go ahead?")
    reason: str = Field(min_length=1, max_length=2_000, description="Why. Kept for ever, with your name.")


async def hold(
    book: GateBook,
    *,
    name: str,
    title: str,
    subject: str,
    show: Callable[[], Shown | Awaitable[Shown]],
    describe: Callable[[Mapping[str, Any]], str],
) -> Decision:
    """Rest until a person has approved what `show` returns.

    Args:
        book: where the decision will be.
        name: the gate's kind, lower-case with underscores.
        title: the question, in a line.
        subject: what it is about.
        show: computes what is to be approved, from what is there now.
        describe: Markdown of it, for Prefect's pages.

    Returns:
        The approval, with what was approved in `shown`.

    Raises:
        GateRejected: a person said no.
        GateError: the run was made to go on without resting.
        prefect.exceptions.Pause: the run rests; on waking it starts again from the top.
    """
    for _ in range(_TRIES):
        shown = await _now(show)
        gate_id = await asyncio.to_thread(
            book.open_gate, name=name, title=title, subject=subject, shown=shown, flow_run_id=_flow_run_id()
        )
        decision = await asyncio.to_thread(book.decision, gate_id)
        if decision is not None and decision.digest == digest_of(shown):
            # Prefect's pages know no people: this line is where they name one.
            get_run_logger().info("gate %s: %s by %s", name, decision.verdict, decision.person)
            return _passed(replace(decision, shown=shown))
        await asyncio.to_thread(book.suspended, gate_id)
        await _rest(name, _form(shown, title + "\n\n" + describe(shown)))
    raise GateError(f"gate {name!r} of {subject!r} was not allowed to rest: nothing was approved")


def _passed(decision: Decision) -> Decision:
    if decision.verdict != "approve":
        raise GateRejected(decision)
    return decision


async def _rest(name: str, form: type[GateAnswer]) -> None:
    """Suspend. That this returns at all is not a decision: the caller looks again."""
    try:
        # Whole or not at all: a runner that stops in between would leave a run that rests without a form, or does not.
        with anyio.CancelScope(shield=True):
            # Prefect takes lower-case letters, digits and dashes, and nothing else, in the keys of inputs.
            await asuspend_flow_run(wait_for_input=form, key=f"{name.replace('_', '-')}-{uuid4()}")
    except ValidationError as error:
        if error.title != form.__name__:
            raise
        # The run was set going without an answer, or with one that does not fit the form.


def _form(shown: Shown, description: str) -> type[GateAnswer]:
    """The form for exactly what is shown: an answer for another digest, or another item, the server itself refuses."""
    digest = digest_of(shown)
    fields: dict[str, Any] = {
        "digest": (
            str,
            Field(
                pattern=f"^{digest}$",
                description="What you were shown. Leave it as it is.",
                json_schema_extra={"default": digest},
            ),
        )
    }
    if items := tuple(str(item["item"]) for item in shown.get("items", ())):
        described = "Items to leave out, while the rest goes ahead."
        fields["withhold"] = (list[Literal[items]], Field(default=[], max_length=len(items), description=described))  # type: ignore[valid-type]  # the items are known here alone
    form = create_model("GateAnswer", __base__=GateAnswer, **fields)
    form._description = description  # noqa: SLF001 - `with_initial_data` would set it too, and drop the fields' constraints
    return form


async def _now(show: Callable[[], Shown | Awaitable[Shown]]) -> Shown:
    found = show()
    return await found if inspect.isawaitable(found) else found


def _flow_run_id() -> str:
    flow_run_id = this_run.get_id()
    if flow_run_id is None:
        raise GateError("a gate can only be held inside a flow run: start the flow through its deployment")
    return str(flow_run_id)
