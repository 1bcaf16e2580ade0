"""`kubectl` as the demonstration calls it: what a hospital's platform team types, and nothing beside it."""

import json
import subprocess
from typing import Any

from cli.errors import FailedError


def kubectl(*words: str, stdin: str | bytes | None = None) -> str:
    """Run it and give what it printed.

    Raises:
        FailedError: it ended with another code than 0; with what it said.
    """
    done = subprocess.run(  # theirs, from PATH
        ["kubectl", *words],  # noqa: S607
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        # Ctrl-C is for the demonstration, which then removes what it has made: half a call would be left out there.
        start_new_session=True,
    )
    if done.returncode:
        raise FailedError(f"kubectl {' '.join(words)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def get(*words: str) -> dict[str, Any]:
    """One object, or a list of them."""
    return dict(json.loads(kubectl("get", *words, "-o", "json")))
