"""Misbehave as the parameter `mode` says."""

import argparse
import os
import signal
import socket
import sys
import time
from pathlib import Path

VOLUMES = "/mlcommons/volumes"


def exit_1(_: argparse.Namespace) -> None:
    print("giving up", file=sys.stderr)
    raise SystemExit(1)


def hang(_: argparse.Namespace) -> None:
    time.sleep(3600)


def ignore_sigterm(_: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    time.sleep(3600)


def write_nothing(_: argparse.Namespace) -> None:
    print("done, they say")


def malformed(arguments: argparse.Namespace) -> None:
    (arguments.predictions / "predictions.csv").write_text("no, this\nis not,a,table\n", encoding="utf-8")


def nan(arguments: argparse.Namespace) -> None:
    ids = [line.split(",")[0] for line in (arguments.data / "cases.csv").read_text(encoding="utf-8").splitlines()[1:]]
    rows = "".join(f"{case},nan\n" for case in ids)
    (arguments.predictions / "predictions.csv").write_text("case_id,probability\n" + rows, encoding="utf-8")


def flood_stdout(_: argparse.Namespace) -> None:
    line = b"x" * 65_535 + b"\n"
    for _round in range(1 << 14):
        os.write(1, line)


def memory(_: argparse.Namespace) -> None:
    held = []
    while True:
        held.append(bytearray(32 << 20))


def fork_bomb(_: argparse.Namespace) -> None:
    while True:
        os.fork()


def fill_output(arguments: argparse.Namespace) -> None:
    with (arguments.predictions / "large").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))


def open_socket(_: argparse.Namespace) -> None:
    socket.create_connection(("127.0.0.1", 4200), timeout=3)


def write_inputs(arguments: argparse.Namespace) -> None:
    (arguments.data / "cases.csv").write_text("gone", encoding="utf-8")


MODES = {
    f.__name__: f
    for f in (
        exit_1, hang, ignore_sigterm, write_nothing, malformed, nan, flood_stdout, memory, fork_bomb, fill_output,
        open_socket, write_inputs,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(VOLUMES, "data"))
    parser.add_argument("--predictions", type=Path, default=Path(VOLUMES, "predictions"))
    parser.add_argument("--parameters", type=Path, default=Path(VOLUMES, "parameters.yaml"))
    arguments = parser.parse_args()
    mode = arguments.parameters.read_text(encoding="utf-8").split("mode:")[1].split()[0].strip("'\"")
    MODES[mode](arguments)


if __name__ == "__main__":
    main()
