"""A whole site job under an audit hook: everything that a site does, and each connection that was made on the way.

Run as a program with an empty folder; prints one JSON document.
"""

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
EVENTS: Final = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
seen: list[dict[str, Any]] = []


def _files(frame: FrameType | None) -> list[str]:
    """Our own modules on the stack, the innermost first."""
    found: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts:
            found.append(path.relative_to(ROOT).as_posix())
        frame = frame.f_back
    return found


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in EVENTS:
        # The last argument of connect, sendto and sendmsg is the address; the first two of a look-up are host and port.
        where = arguments[-1] if event.startswith(("socket.c", "socket.s")) else arguments[:2]
        seen.append({"event": event, "address": repr(where), "files": _files(sys._getframe(1))})
    elif event == "subprocess.Popen":
        seen.append({"event": event, "address": str(arguments[0]), "files": _files(sys._getframe(1))})


sys.addaudithook(_hook)


def main(folder: Path) -> None:
    import pytest  # noqa: PLC0415 - everything is imported under the hook's eyes

    from flows.settings import configure  # noqa: PLC0415

    configure(home=folder / "prefect")
    from agents.environments import EnvironmentCache  # noqa: PLC0415
    from agents.loop import RegistryLoop  # noqa: PLC0415
    from agents.runtimes.process import ProcessRuntime  # noqa: PLC0415
    from tests.hospital import hospital  # noqa: PLC0415

    probe = ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe()
    with pytest.MonkeyPatch.context() as patch, hospital(folder / "h", probe.model_dump_json(), patch) as here:
        models = here.model(), here.broken_model("open_socket")
        here.offer(*models)
        registry = RegistryLoop(here.site)
        here.prepare()
        registry.tick()
        here.offer(*models)
        outcome = here.evaluate(1, 2).outcome
        here.release(1)
        registry.tick()
        address = here.registry.url
        taken = [taken.kind.value for taken in here.registry.taken]
        own = [entry for entry in seen if "tests/small_registry.py" not in entry["files"]]
        rogue(here.registry.url)
    print(json.dumps({"registry": address, "taken": taken, "outcome": outcome, "seen": own, "rogue": seen[-1]}))  # noqa: T201


def rogue(url: str) -> None:
    """The control: what another module's connection looks like to the hook."""
    import socket  # noqa: PLC0415

    socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=5).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
