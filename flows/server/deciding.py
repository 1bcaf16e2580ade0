"""From an answer to a decision to a run that goes on: one way, whether it came from Prefect's pages, ours, or a program.

First the decision is written, by the gate's keeper, under the name of whoever is signed in. Only then is the run woken,
with a form made from the decision: nothing that a browser sent reaches Prefect.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx2
import structlog
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from api.schemas.sign_in import Answer, DeskError, GateCard, SignedIn, Standing
from flows.server.checks import is_rendered, rendered
from flows.server.http import Refused
from flows.server.permits import permit
from flows.server.protocol import Gates

_ACCEPTED: Final = "ACCEPT"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Deciding:
    """Decisions at gates, and what follows from them.

    Args:
        gates: their keeper.
        prefect: a client of Prefect behind the layer.
    """

    gates: Gates
    prefect: httpx2.AsyncClient

    async def resume(self, who: SignedIn, flow_run_id: str, body: Any) -> Response:
        """Somebody asks Prefect to resume a run: their form is an answer at the run's gate.

        Raises:
            Refused: the run rests at no gate; the form does not fit it; or the gate's keeper says no.
        """
        card = await self._of_run(flow_run_id)
        if card is None:
            raise Refused(HTTPStatus.CONFLICT, f"flow run {flow_run_id!r} does not wait at a gate")
        if who.standing == Standing.SERVICE:
            # It carries out what was decided elsewhere, and decides nothing.
            if not card.decided:
                raise Refused(HTTPStatus.FORBIDDEN, f"gate {card.id!r} is not decided: only a person can do that")
            return await self._wake(card)
        card = await self.decide(who, card.id, _form(body))
        if card.decided:
            return await self._wake(card)
        approvals = sum(vote.verdict == "approve" for vote in card.votes)
        reason = f"Your decision is kept: {approvals} of {card.quorum} have approved, and the run waits for the others."
        return JSONResponse(
            {"state": None, "status": "REJECT", "details": {"type": "reject_details", "reason": reason}}
        )

    async def decide(self, who: SignedIn, gate_id: str, answer: Answer) -> GateCard:
        """Write a decision.

        Raises:
            Refused: the gate's keeper says no.
        """
        return await self.ask(self.gates.decide, who, gate_id, answer)

    async def decide_and_wake(self, who: SignedIn, gate_id: str, answer: Answer) -> tuple[GateCard, bool]:
        """Write a decision, and wake the gate's flow run if that settles it.

        Returns:
            The gate, and whether its run goes on. One that has not come to rest yet is woken by the agent later.
        """
        card = await self.decide(who, gate_id, answer)
        if not card.decided or card.flow_run_id is None:
            return card, False
        response = await self._wake(card)
        return card, response.headers.get("x-woken") == "yes"

    async def may_read(self, who: SignedIn, flow_run_id: str) -> bool:
        """Whether somebody may read what a flow run's gate shows."""
        return await asyncio.to_thread(self.gates.may_read, who, flow_run_id)

    async def ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        """Ask the gates' keeper, in a thread.

        Raises:
            Refused: it says no.
        """
        try:
            return await asyncio.to_thread(question, *arguments)
        except DeskError as error:
            raise Refused(error.status, str(error)) from None

    async def _of_run(self, flow_run_id: str) -> GateCard | None:
        return await self.ask(self.gates.of_run, flow_run_id)

    async def _wake(self, card: GateCard) -> Response:
        flow_run_id = str(card.flow_run_id)
        with permit(flow_run_id):
            answer = await self.prefect.post(f"/flow_runs/{flow_run_id}/resume", json={"run_input": _run_input(card)})
        said = answer.json() if answer.is_success else {}
        woken = said.get("status") == _ACCEPTED
        if woken:
            await self.ask(self.gates.woken, card.id)
        else:
            reason = (said.get("details") or {}).get("reason", answer.status_code)
            structlog.get_logger().info("a decided run was not woken yet", flow_run=flow_run_id, reason=reason)
        headers = {"x-woken": "yes" if woken else "no"}
        return Response(answer.content, answer.status_code, headers, media_type=answer.headers.get("content-type"))


def _form(body: Any) -> Answer:
    """What a person answered, if it is an answer.

    Raises:
        Refused: 422.
    """
    given = body.get("run_input") if isinstance(body, Mapping) else None
    if not isinstance(given, Mapping):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "run_input: fill in the form: verdict, reason, digest")
    if is_rendered(given):
        raise rendered()
    return read_answer({name: value for name, value in given.items() if value is not None})


def read_answer(given: Any) -> Answer:
    """An answer from JSON.

    Raises:
        Refused: 422, with each field that does not fit.
    """
    try:
        return Answer.model_validate(given)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the form'}: {fault['msg']}" for fault in error.errors()]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults)) from None


def _run_input(card: GateCard) -> dict[str, Any]:
    answer = card.answer.model_dump(mode="json")
    if not card.shown.get("items"):
        del answer["withhold"]  # its form has no such field
    return answer
