"""The rule inside Prefect: a run that rests at a gate leaves it through a decision, or ends; in no other way.

It runs in Prefect's own transaction, with the run's row locked: no two requests, and no service of the server (automations
act past the layer), can get a run past it. The hook is not documented: the version is pinned, and tests hold it.
"""

from typing import Any, Final

import structlog
from prefect.server.orchestration.core_policy import CoreFlowPolicy
from prefect.server.orchestration.dependencies import ORCHESTRATION_DEPENDENCIES
from prefect.server.orchestration.rules import FlowRunOrchestrationRule, OrchestrationContext
from prefect.server.schemas.states import State, StateType

from flows.server.permits import permitted

_PARAMETER: Final = "assay-permit"


class OnlyDecidedLeaveGates(FlowRunOrchestrationRule):
    """A paused run may end. It goes on only with a permit."""

    FROM_STATES = {StateType.PAUSED}  # noqa: RUF012 - as the base class declares it
    TO_STATES = {StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.COMPLETED}  # noqa: RUF012

    async def before_transition(
        self,
        initial_state: State | None,  # noqa: ARG002 - Prefect's signature
        proposed_state: State | None,
        context: OrchestrationContext[Any, Any],
    ) -> None:
        if context.parameters.get(_PARAMETER) == str(context.run.id):
            return
        wanted = None if proposed_state is None else proposed_state.type.value
        structlog.get_logger().warning("a run was kept at its gate", flow_run=str(context.run.id), wanted=wanted)
        await self.abort_transition("this run rests at a gate: it goes on when a person has decided there")


class GatePolicy(CoreFlowPolicy):
    """Prefect's own rules, after ours."""

    @staticmethod
    def priority() -> list[Any]:
        return [OnlyDecidedLeaveGates, *CoreFlowPolicy.priority()]


def install() -> None:
    """Put the rule into the server of this process."""
    ORCHESTRATION_DEPENDENCIES["flow_policy_provider"] = _policy
    ORCHESTRATION_DEPENDENCIES["flow_orchestration_parameters_provider"] = _parameters


async def _policy() -> type[GatePolicy]:
    return GatePolicy


async def _parameters() -> dict[str, Any]:
    return {_PARAMETER: permitted()}
