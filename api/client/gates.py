"""Gates and decisions."""

from typing import TYPE_CHECKING

from api.client.noun import Listed
from api.schemas.benchmarks import DecisionCreate, DecisionPublic, FlowRunUpdate, GatePublic

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - inside the classes `list` is the method


class Gates(Listed[GatePublic]):
    """Gates; `state`, `kind`, `benchmark_id`, `subject_id`, `live` and `waiting` (for one's own decision) filter."""

    def decide(self, gate_id: int, decision: DecisionCreate) -> DecisionPublic:
        """Decide about exactly what the gate shows.

        Raises:
            Refused: 403 for one's own request or the wrong role; 409 when decided already, or when it shows something else.
        """
        return self._transport.post(f"{self._path}/{gate_id}/decisions", DecisionPublic, decision)

    def decisions(self, gate_id: int) -> "List[DecisionPublic]":
        """All decisions, oldest first, also about earlier revisions of what it showed."""
        return list(Listed(self._transport, f"{self._path}/{gate_id}/decisions", DecisionPublic).all())

    def set_flow_run(self, gate_id: int, update: FlowRunUpdate) -> GatePublic:
        """For the registry's own service: which flow run waits here."""
        return self._transport.post(f"{self._path}/{gate_id}/flow-run", GatePublic, update, method="PUT")

    def refresh(self, gate_id: int) -> GatePublic:
        """For the registry's own service: compute what is shown again; something else opens the gate again."""
        return self._transport.post(f"{self._path}/{gate_id}/refresh", GatePublic)

    def conclude(self, gate_id: int) -> GatePublic:
        """For the registry's own service: check everything again and move the subject.

        Raises:
            Refused: 409, and nothing has moved.
        """
        return self._transport.post(f"{self._path}/{gate_id}/conclude", GatePublic)
