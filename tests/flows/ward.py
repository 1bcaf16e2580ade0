"""A hospital whose preparator stops for people, in whichever runtime; between its stages people do what a test says."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from agents.store.datasets import find_dataset
from agents.store.gates import list_gates
from agents.store.tables import Dataset, Gate
from api.schemas.cubes import CubeKind
from tests.hospital import Hospital, hospital

STAGED: Final = Path(__file__).parents[1] / "staged_preparator"
CASES: Final = ("a", "b", "c")


class Ward:
    """A hospital with a staged preparator, and people who review between its stages."""

    def __init__(self, here: Hospital) -> None:
        self.here = here
        self.reviews: list[Callable[[], None]] = []
        """What people do at each gate, before it is approved."""
        here._refs["preparator"] = here.cube(STAGED, CubeKind.DATA_PREPARATOR)
        self.raw(*CASES)
        here.offer()

    def raw(self, *cases: str) -> None:
        with (self.here.raw / "data" / "cases.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("case_id", "radius_mean"), *((case, 10 + 4 * n) for n, case in enumerate(cases))]
            )

    @property
    def dataset(self) -> Dataset:
        with self.here.site.store.read() as session:
            return find_dataset(session, "d1")

    @property
    def folder(self) -> Path:
        (folder,) = (self.here.site.home.path / "prepared").iterdir()
        return folder

    def gates(self, name: str = "continue_preparation") -> list[Gate]:
        with self.here.site.store.read() as session:
            return [gate for gate in list_gates(session, undecided=False) if gate.name == name]

    def review(self, *cases: str) -> Callable[[], None]:
        def act() -> None:
            for case in cases:
                with (self.folder / "labels" / "drafts" / f"{case}.txt").open("a") as file:
                    file.write("reviewed\n")

        return act


@contextmanager
def staged_ward(folder: Path, probe: str, patch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Ward]:
    """As `tests.hospital.hospital`; each gate between two stages is approved once the next of `reviews` was done."""
    with hospital(folder, probe, patch, **settings) as here:
        found = Ward(here)
        plain_hold = here.hold

        async def hold(book: Any, **asked: Any) -> Any:
            if asked["name"] == "continue_preparation" and found.reviews:
                found.reviews.pop(0)()
            return await plain_hold(book, **asked)

        patch.setattr("flows.staged.hold", hold)
        yield found
