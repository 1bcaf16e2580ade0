"""Prefect's server in a process of its own, with the face of `PrefectServer`.

What the process needs, secrets among it, is written to its standard input: arguments and environments can be read by others.
While that stays open the server runs; it ends with whoever started it, however that ended.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from flows.server.hosting import Layer, PrefectServer, ServerError

_STOP_S = 30.0


class ServerOrder(BaseModel):
    """What to serve, where, behind what; one line of JSON, where a process of its own is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str
    home: Path
    host: str = "127.0.0.1"
    port: int = 0
    proxies: str = ""
    layer: str | None = None
    """`module:function`; called with `layer_arguments`, it returns what stands in front (flows.server.hosting.Layer)."""
    layer_arguments: dict[str, str] = {}


def server_here(order: ServerOrder, layer: Layer | None) -> PrefectServer:
    """The server that an order means, to be started in this process, behind the layer that it names."""
    return PrefectServer(
        order.database_url,
        home=order.home,
        host=order.host,
        port=order.port,
        proxies=order.proxies,
        layer=layer,
    )


class SeparateServer:
    """Prefect's server, from `start()` to `stop()`, as a service that can be started again.

    Args:
        order: what to serve, where, behind what.
    """

    def __init__(self, order: ServerOrder) -> None:
        self._order = order
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def start(self) -> str:
        """Start the process and wait until it answers.

        Returns:
            The address of the API, ending in `/api`.

        Raises:
            ServerError: it did not come up; with what it said last.
        """
        self._order.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_file = self._order.home / "server.log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for its owner, who stops it in order
            )
        assert self._process.stdin is not None  # noqa: S101 - both are pipes: said above
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(self._order.model_dump_json() + "\n")
        self._process.stdin.flush()
        said = (
            self._process.stdout.readline()
        )  # it ends by itself when it does not come up: this does not wait for ever
        if not said:
            self.stop()
            tail = " / ".join(log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
            raise ServerError(f"Prefect's server did not come up: {tail}")
        self._url = str(json.loads(said)["url"])
        return self._url

    @property
    def url(self) -> str:
        return self._url

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it and wait until it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=_STOP_S)  # closes its standard input, which tells it to end
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
