"""Time to verify a dataset of many small files, cold and warm, against walking over them and nothing else.

`python tests/bench/bench_manifest.py [FILES]`: the ratio is what counts, since the floor is measured in the same run.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agents.home import write_private
from agents.manifest import build_manifest
from agents.verification import MANIFEST, dataset_parts, verify_dataset

FILES, FOLDERS, ROUNDS = 100_000, 500, 5


def make(folder: Path, files: int) -> None:
    """Small files in folders of cases, as a hospital's archive has them; labels are one file in ten."""
    for number in range(FOLDERS):
        (folder / "data" / f"case-{number:04}").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(files):
        part = f"labels/{number:06}" if number % 10 == 0 else f"data/case-{number % FOLDERS:04}/{number:06}"
        (folder / part).write_bytes(number.to_bytes(8) * 64)


def floor(folder: Path) -> int:
    return sum(os.stat(f"{here}/{name}").st_size for here, _, names in os.walk(folder) for name in names)  # noqa: PTH116 - the floor is what the system calls cost


def best(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory() as name:
        folder, record = Path(name, "dataset"), Path(name, "record")
        make(folder, files)
        manifest = build_manifest(dataset_parts(folder))
        write_private(folder / MANIFEST, manifest.model_dump_json())
        time.sleep(2.5)  # what changed a moment ago is read again: let it settle

        def verify(*, full: bool) -> int:
            return verify_dataset("bench", folder, manifest.root, record, full=full, full_every_s=86_400).read

        walking = best(lambda: floor(folder))
        cold = best(lambda: verify(full=True), 2)
        warm = best(lambda: verify(full=False))
        assert verify(full=False) == 0
        (folder / "labels" / "000000").touch()
        start = time.perf_counter()
        assert verify(full=False) == 1
        touched = time.perf_counter() - start
    print(f"{files} files            seconds   x floor")
    for what, seconds in (
        ("walk and stat (floor)", walking),
        ("full, every byte", cold),
        ("quick, nothing new", warm),
        ("quick, one touched", touched),
    ):
        print(f"{what:<24}{seconds:>8.2f}{seconds / walking:>10.1f}")


if __name__ == "__main__":
    main()
