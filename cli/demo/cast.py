"""Who plays: parties and the people who act for them. Each has an environment of their own, as on a machine of their own."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cli.demo.terminal import Terminal


@dataclass(slots=True)
class Actor:
    """Somebody who types commands."""

    email: str
    name: str
    party: str
    environment: dict[str, str] = field(default_factory=dict)
    """What tells `assay` which registry, which site and whose token."""
    terminal: Terminal | None = None
    """Where they type, when that is not on this machine."""

    def becoming(self) -> list[str]:
        """What to type in another terminal to be them."""
        there = [] if self.terminal is None else [shlex.join(self.terminal.place.command("sh", interactive="-it"))]
        return there + [f"export {name}={value}" for name, value in sorted(self.environment.items())]


@dataclass(slots=True)
class Hospital:
    """One site with its people: an operator who starts work; a data owner who decides, and acts at the registry too."""

    name: str
    title: str
    cases: int
    raw: Path
    home: Path
    operator: Actor
    owner: Actor


def actor(name: str, party: str, domain: str, **environment: str) -> Actor:
    """Somebody named by their role: this is a demonstration, and nobody real."""
    local = name.lower().replace(" ", "-")
    return Actor(email=f"{local}@{domain}.example", name=f"{name} ({party})", party=party, environment=environment)
