"""Decisions on the stage: somebody looks at a gate and answers. By hand, it is you."""

import math
from collections.abc import Sequence
from typing import Any

from cli.demo.cast import Actor
from cli.demo.stage import Stage
from cli.errors import FailedError


class Decider:
    """Plays what happens at gates, and keeps every decision for the summary."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.decisions: list[dict[str, Any]] = []

    def decide(
        self,
        person: Actor,
        about: str,
        reason: str,
        *,
        verdict: str = "approve",
        withhold: Sequence[str] = (),
        show: bool = False,
    ) -> None:
        """Wait for the gate whose title holds `about`, show it to the person, let them decide for its digest."""
        gate = self._stage.wait(f"waiting for the gate {about!r}", lambda: self._waiting(person, about))
        self._stage.gate(gate["title"])
        if show:
            self._stage.play(person, "gate", "show", str(gate["id"]), show=True)
        words = ["gate", verdict, str(gate["id"]), "--digest", gate["digest"], "--reason", reason]
        for item in withhold:
            words += ["--withhold", item]
        if self._stage.by_hand:
            self._by_hand(person, gate, words)
        else:
            self._stage.play(person, *words)
        self._note(person, gate)

    def _waiting(self, person: Actor, about: str) -> dict[str, Any] | None:
        gates = self._stage.ask(person, "gate", "list")
        return next((gate for gate in gates if about in gate["title"]), None)

    def _by_hand(self, person: Actor, gate: dict[str, Any], words: list[str]) -> None:
        """Let the reader decide, in their own time.

        Raises:
            FailedError: they rejected: what the story needs will not happen.
        """
        self._stage.hand_over(person, ["gate", "show", str(gate["id"])], words)
        # A person reads, thinks, has lunch.
        made = self._stage.wait("waiting for your decision", lambda: self._decisions(person, gate), limit_s=math.inf)
        if any(decision["verdict"] == "reject" for decision in made):
            raise FailedError(f"you rejected {gate['title']!r}: the workflow stops here, as it should")

    def _decisions(self, person: Actor, gate: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._stage.ask(person, "gate", "show", str(gate["id"]))["decisions"]
        return found

    def _note(self, person: Actor, gate: dict[str, Any]) -> None:
        for decision in self._decisions(person, gate):
            self.decisions.append(
                {
                    "party": person.party,
                    "gate": gate["title"],
                    "person": decision.get("person") or decision.get("user_name"),
                    "verdict": decision["verdict"],
                    "digest": decision["digest"],
                    "reason": decision["reason"],
                    "withheld": decision.get("withheld", []),
                    "decided_at": decision.get("decided_at") or decision.get("created_at"),
                }
            )
