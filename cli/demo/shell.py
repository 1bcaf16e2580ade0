"""Commands as somebody types them: through the same entry point as from a shell, but without a Python start for each.

`python -m cli.demo.shell` serves them where the site's folder is, in the agent's pod: a JSON object a line on stdin, an answer
a line on stdout.
"""

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from typing import TextIO

from cli import errors


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    output: str
    errors: str


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that names a registry, a site or somebody's token."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}


def type_in(words: Sequence[str], environment: Mapping[str, str], typed: str = "") -> Ended:
    """Run a command in this process, as if it were alone.

    Args:
        words: without `assay`.
        environment: what it knows of registries, sites and tokens; nothing else of the kind is inherited.
        typed: what it reads from stdin.
    """
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    with _environment({**clean_environment(), **environment}), redirect_stdout(out), redirect_stderr(err):
        sys.stdin = io.StringIO(typed)
        try:
            code = _call(list(words))
        finally:
            sys.stdin = before
    return Ended(code, out.getvalue(), err.getvalue())


def serve(asked: TextIO, answers: TextIO) -> None:
    """Answer until nobody asks any more."""
    for line in asked:
        wanted = json.loads(line)
        ended = type_in(wanted["words"], wanted["environment"], wanted["typed"])
        answers.write(json.dumps(asdict(ended)) + "\n")
        answers.flush()


def _call(words: list[str]) -> int:
    from cli.main import app

    try:
        app(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001 - as the entry point does it
        return int(errors.report(error))
    return 0


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    # Answers alone go to stdout: whatever else is printed there below Python's own streams goes to stderr.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, own)
