"""`python -m flows.server`: one Prefect server, as the first line of standard input orders, until that ends."""

import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

from flows.server.hosting import Layer
from flows.server.separate import ServerOrder, server_here
from flows.settings import configure


def main() -> None:
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is log; the answer is one line of JSON
    order = ServerOrder.model_validate_json(sys.stdin.readline())
    configure(home=order.home)
    # A service manager ends its services by this signal; our reading of standard input breaks off, and all is put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with answer, server_here(order, _layer(order)) as server:
        answer.write(json.dumps({"url": server.url}) + "\n")
        answer.flush()
        try:
            sys.stdin.read()  # until whoever started us closes it, or is gone
        except KeyboardInterrupt:
            return


def _layer(order: ServerOrder) -> Layer | None:
    if order.layer is None:
        return None
    module, _, name = order.layer.partition(":")
    made: Any = getattr(import_module(module), name)(**order.layer_arguments)
    layer: Layer = made
    return layer


if __name__ == "__main__":
    main()
