"""Gates of a site and of the registry behind one face: what is asked, bound to its digest, and how it is answered."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import typer

from cli.connect import AtSite, registry, site_store
from cli.errors import ConflictError, InvalidInputError
from cli.output import plain, print_facts, print_title, say, text, when
from cli.render import print_sections

if TYPE_CHECKING:
    from api.client import RegistryClient


@dataclass(frozen=True, slots=True)
class Question:
    """What a gate asks: `shown` is approved or rejected as a whole, and `digest` is its digest."""

    id: str
    title: str
    state: str
    digest: str
    shown: Mapping[str, Any]
    record: Mapping[str, Any]
    """The gate as its keeper answers it."""


class Desk(Protocol):
    """Where gates are kept."""

    def waiting(self) -> list[dict[str, Any]]: ...

    def everything(self) -> list[dict[str, Any]]: ...

    def question(self, reference: str) -> Question: ...

    def decisions(self, question: Question) -> list[Any]: ...

    def decide(self, question: Question, *, digest: str, verdict: str, reason: str, withheld: Sequence[str]) -> Any: ...


@contextmanager
def desk(*, here: bool) -> Iterator[Desk]:
    """The gates of the site (`here`) or of the registry."""
    if here:
        with site_store() as store:
            yield _SiteDesk(store)
    else:
        with registry() as client:
            yield _RegistryDesk(client)


def print_question(question: Question, decisions: Sequence[Any] = (), *, exact: bool = False) -> None:
    """Everything that is asked, and at the end the digest that a decision binds to."""
    print_title(question.title)
    print_sections(question.shown, exact=exact)
    print_title("\ngate")
    print_facts({"gate": question.id, "state": question.state, "digest": question.digest})
    for decision in map(plain, decisions):
        who = decision.get("person") or decision.get("user_name")
        at = when(decision.get("decided_at") or decision.get("created_at"))
        withheld = f" Left out: {', '.join(decision['withheld'])}." if decision.get("withheld") else ""
        say(f"{decision['verdict']} by {who} at {at} UTC: {decision['reason']}{withheld}")


def bind(question: Question, verdict: str, *, bound: str | None, yes: bool, quiet: bool) -> str:
    """The digest that the decision is for.

    Args:
        question: as it is now.
        verdict: for the question that is asked.
        bound: what the person says they were shown; None shows it now.
        yes: do not ask after showing.
        quiet: show nothing, since a machine reads.

    Raises:
        ConflictError: the gate shows something else than `bound`.
        InvalidInputError: somebody would have to be asked, and nobody is there.
    """
    if bound is not None:
        if bound != question.digest:
            raise ConflictError(
                f"you name {bound!r}, but the gate shows {question.digest}: look again before you decide"
            )
        return bound
    if not yes and (quiet or not sys.stdin.isatty()):
        raise InvalidInputError(
            f"nobody can be asked here: add --digest {question.digest} if that is what you were shown, or --yes"
        )
    if not quiet:
        print_question(question)
    if not yes and not typer.confirm(f"\n{verdict.capitalize()} exactly this?"):
        raise typer.Abort
    return question.digest


def item_numbers(question: Question, named: Sequence[str]) -> list[str]:
    """The gate's own numbers of items that a person named by number or by model.

    Raises:
        InvalidInputError: no item is called so, or several are.
    """
    items = [item for item in question.shown.get("items", []) if isinstance(item, Mapping)]
    return [_item_number(name, items) for name in named]


def _item_number(name: str, items: Sequence[Mapping[str, Any]]) -> str:
    found = [str(item["item"]) for item in items if name in {str(item["item"]), text(item.get("model"))}]
    exact = [number for number in found if number == name] or found
    if len(exact) != 1:
        listed = ", ".join(f"{item['item']} ({text(item.get('model'))})" for item in items) or "none"
        problem = "several items are" if exact else "no item is"
        raise InvalidInputError(f"{problem} called {name!r}; the items are: {listed}")
    return exact[0]


class _SiteDesk:
    """Gates in the site's store."""

    def __init__(self, here: AtSite) -> None:
        self._here = here

    def waiting(self) -> list[dict[str, Any]]:
        return self._list(undecided=True)

    def everything(self) -> list[dict[str, Any]]:
        return self._list(undecided=False)

    def question(self, reference: str) -> Question:
        from agents.store.gates import find_gate

        with self._here.store.read() as session:
            gate = find_gate(session, reference)
        record = plain(gate)
        return Question(gate.id, gate.title, gate.state.value, gate.digest, gate.shown, record)

    def decisions(self, question: Question) -> list[Any]:
        from agents.store.gates import decision_of

        with self._here.store.read() as session:
            found = decision_of(session, question.id)
        return [] if found is None else [found]

    def decide(self, question: Question, *, digest: str, verdict: str, reason: str, withheld: Sequence[str]) -> Any:
        from agents.store.gates import decide
        from api.schemas.benchmarks import Verdict

        with self._here.store.write() as session:
            return decide(
                session,
                gate_id=question.id,
                digest=digest,
                verdict=Verdict(verdict),
                person=self._here.person,
                reason=reason,
                withheld=list(withheld),
            )

    def _list(self, *, undecided: bool) -> list[dict[str, Any]]:
        from agents.store.gates import list_gates

        with self._here.store.read() as session:
            return [
                {**plain(gate), "since": plain(gate.opened_at)} for gate in list_gates(session, undecided=undecided)
            ]


class _RegistryDesk:
    """Gates at the registry."""

    def __init__(self, client: "RegistryClient") -> None:
        self._client = client

    def waiting(self) -> list[dict[str, Any]]:
        return self._list(waiting=True)

    def everything(self) -> list[dict[str, Any]]:
        return self._list()

    def question(self, reference: str) -> Question:
        if not reference.isdigit():
            raise InvalidInputError(f"gates of the registry have numbers, not {reference!r}: see `assay gate list`")
        gate = self._client.gates.get(int(reference))
        return Question(str(gate.id), gate.title, gate.state.value, gate.digest, gate.shown, plain(gate))

    def decisions(self, question: Question) -> list[Any]:
        return list(self._client.gates.decisions(int(question.id)))

    def decide(self, question: Question, *, digest: str, verdict: str, reason: str, withheld: Sequence[str]) -> Any:
        from api.schemas.benchmarks import DecisionCreate, Verdict

        if withheld:
            raise InvalidInputError("a gate of the registry is decided as a whole: leave --withhold out")
        decision = DecisionCreate(digest=digest, verdict=Verdict(verdict), reason=reason)
        return self._client.gates.decide(int(question.id), decision)

    def _list(self, **filters: Any) -> list[dict[str, Any]]:
        return [
            {**plain(gate), "subject": f"{gate.kind.value} {gate.subject_id}", "since": plain(gate.created_at)}
            for gate in self._client.gates.all(**filters)
        ]
