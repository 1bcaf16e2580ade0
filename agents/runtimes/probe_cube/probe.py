"""Try what a step must not be able to do, and what it must; write down what happened.

Every entry is true when things are as they should be. Runs inside a step; standard library alone. Nothing is changed
where an attempt succeeds: files are opened, never written, outside the step's own.
"""

import ctypes
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

VOLUMES = Path(os.environ["VOLUMES"])
NEWUSER = 0x10000000
PTRACE_TRACEME = 0
AF_VSOCK = 40
MOST_PROCESSES, LARGEST_PID = 2, 10
SECRETS = Path("/var/run/secrets")
ELSEWHERE = (("192.0.2.1", 443), ("169.254.169.254", 80))
"""An address of nobody's, and the one where clouds hand out credentials."""
KERNEL_SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger")
libc = ctypes.CDLL(None, use_errno=True)


def refused(attempt: Callable[[], object]) -> bool:
    """Whether an attempt fails."""
    try:
        attempt()
    except OSError:
        return True
    return False


def must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "refused")


def connect(address: tuple[str, int]) -> None:
    socket.create_connection(address, timeout=2).close()


def call_the_hypervisor() -> None:
    with socket.socket(AF_VSOCK, socket.SOCK_STREAM) as caller:
        caller.settimeout(2)
        caller.connect((2, 1024))


def open_for_writing(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def network(told: dict[str, Any]) -> dict[str, bool]:
    host, port = told["listener"]
    alone = told.get("interfaces") or [name for _, name in socket.if_nameindex()] == ["lo"]
    return {
        "no_loopback_of_the_host": refused(lambda: connect((host, port))),
        "no_network": all(refused(partial(connect, address)) for address in ELSEWHERE) and bool(alone),
        "no_name_resolution": refused(lambda: socket.getaddrinfo("registry.example", 443)),
        "no_hypervisor_sockets": refused(lambda: socket.socket(AF_VSOCK, socket.SOCK_STREAM).close()),
    }


def cluster() -> dict[str, bool]:
    """In a pod: the cluster's API and its name service are always near, and credentials may be."""
    return {
        "no_cluster_api": refused(lambda: connect(cluster_api())),
        "no_cluster_names": refused(lambda: socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)),
        "no_service_account_token": not SECRETS.exists(),
        "no_hypervisor_answers": refused(call_the_hypervisor),
    }


def cluster_api() -> tuple[str, int]:
    return os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])


def files(told: dict[str, Any]) -> dict[str, bool]:
    places = ("", "/.old", f"/proc/{told['agent']}/root")
    return {
        "reads_its_input": (VOLUMES / "data" / "input").read_text(encoding="utf-8") == told["word"],
        "no_foreign_files": not any(os.access(place + told["canary"], os.F_OK) for place in places),
        "no_writing_to_inputs": refused(lambda: (VOLUMES / "data" / "new").write_text("x")),
        "no_writing_to_the_root": refused(lambda: Path("/new").write_text("x")),
        "no_writing_to_programs": refused(lambda: Path("/usr/new").write_text("x")),
        "no_kernel_settings": all(refused(partial(open_for_writing, path)) for path in KERNEL_SETTINGS),
    }


def processes(told: dict[str, Any]) -> dict[str, bool]:
    visible = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    own = {name: str(Path("/proc/self/ns", name).readlink()) for name in told["namespaces"]}
    return {
        "no_other_processes": len(visible) <= MOST_PROCESSES and os.getpid() < LARGEST_PID,
        "no_signal_to_the_agent": refused(lambda: os.kill(told["agent"], 0)),
        "namespaces_of_its_own": all(own[name] != theirs for name, theirs in told["namespaces"].items()),
        "a_name_of_its_own": socket.gethostname() == "step",
        "no_descriptor_is_inherited": {path.name for path in Path("/proc/self/fd").iterdir()} <= set("0123"),
    }


def privileges() -> dict[str, bool]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "no_capabilities": all(int(status[key], 16) == 0 for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")),
        "no_new_privileges": status.get("NoNewPrivs") == "1" and os.getuid() != 0 and refused(lambda: os.setuid(0)),
        "calls_are_filtered": status.get("Seccomp") == "2",
        "no_mounting": refused(lambda: must(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))),
        "no_user_namespaces": refused(lambda: must(libc.unshare(NEWUSER))),
        "no_tracing": refused(lambda: must(libc.ptrace(PTRACE_TRACEME, 0, 0, 0))),
    }


def main() -> None:
    told = json.loads((VOLUMES / "parameters.json").read_text(encoding="utf-8"))
    if told.get("nothing"):
        findings = {"reads_its_input": (VOLUMES / "data" / "input").read_text(encoding="utf-8") == told["word"]}
    elif told.get("control"):
        findings = {"reaches_the_cluster_api": not refused(lambda: connect(cluster_api()))}
    else:
        findings = network(told) | files(told) | processes(told) | privileges()
        findings |= cluster() if told.get("cluster") else {}
    asked = {name: held for name, held in findings.items() if name not in told.get("not_asked", ())}
    (VOLUMES / "predictions" / "findings.json").write_text(json.dumps(asked), encoding="utf-8")


if __name__ == "__main__":
    main()
