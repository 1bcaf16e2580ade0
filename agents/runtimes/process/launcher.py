"""The first program of a step: makes namespaces and a root of its own, gives everything up, becomes the cube's program.

Started by the supervisor as `python -I -S launcher.py STATUS_FD` with the specification as JSON on standard input.
Standard library alone; everything it needs is imported before the root directory changes, since nothing can be
imported afterwards. Trusted code alone writes to the status descriptor, one JSON document a line: `problem` when
setting up went wrong, `peak` when the step is over. The cube's program never holds it.

Three processes: the launcher outside, the first process of the step's pid namespace, which adopts orphans and whose
end is everybody's end, and the cube's program. The order follows what the kernel wants: user namespace first, mounts
while there are still capabilities in it, the bounding set before the capabilities, the system-call filter last.
"""

import base64
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

NAMESPACES = {
    "files": 0x20000,
    "names": 0x4000000,
    "ipc": 0x8000000,
    "processes": 0x20000000,
    "network": 0x40000000,
    "groups": 0x2000000,
}
NEWUSER = 0x10000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
NOATIME, NODIRATIME, RELATIME = 1024, 2048, 1 << 21
DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
MAX_LINKS = 100
MOUNT_SETATTR = 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
ST_RELATIME = 4096

libc = ctypes.CDLL(None, use_errno=True)


class NamespacesRefusedError(Exception):
    """The kernel does not let this user have the namespaces."""


def call(name: str, *arguments: Any) -> None:
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def tell(status: int, **said: Any) -> None:
    os.write(status, json.dumps(said).encode()[:4000] + b"\n")


def tell_problem(status: int, error: BaseException) -> NoReturn:
    text = f"{type(error).__name__}: {error}"[:2000]
    tell(status, problem=text, refused=isinstance(error, NamespacesRefusedError))
    os._exit(125)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    try:
        call("mount", _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(options))
    except OSError as error:
        raise OSError(error.errno, f"mount {source!r} on {target!r}: {error.strerror}") from error


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


def bind(source: str, target: str, flags: int) -> None:
    """A bind mount with flags that hold for everything below it, other mounts included."""
    mount(source, target, None, BIND | REC)
    # The flags of mount_setattr have the same values as those of mount.
    attributes = _Attributes(flags, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    if libc.syscall(MOUNT_SETATTR, AT_FDCWD, _bytes(target), AT_RECURSIVE, ctypes.byref(attributes), size) != 0:
        bind_on_old_kernel(target, flags)


def bind_on_old_kernel(target: str, flags: int) -> None:
    """Before Linux 5.12 flags are set mount by mount; those that the source's own mount has are locked."""
    with open("/proc/self/mountinfo", "rb") as file:  # spaces and the like are written as octal escapes
        points = [os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1")) for line in file]
    for point in points:
        if point == target or point.startswith(target + "/"):
            have = os.statvfs(point).f_flag
            keep = have & (RDONLY | NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME)
            mount(None, point, None, REMOUNT | BIND | flags | keep | (RELATIME if have & ST_RELATIME else 0))


def enter_namespaces(spec: dict[str, Any]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = NEWUSER
    for name, flag in NAMESPACES.items():
        # Without a mount namespace of its own a step would rearrange the host: that one cannot be left out.
        flags |= flag if name == "files" or name not in spec["weaken"] else 0
    try:
        if uid == 0:
            with contextlib.suppress(OSError):  # a root that may not do this has no groups to lose either
                os.setgroups([])
        call("unshare", flags)
        for path, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{spec['uid']} {uid} 1"),
            ("gid_map", f"{spec['uid']} {gid} 1"),
        ):
            with open(f"/proc/self/{path}", "w", encoding="ascii") as file:
                file.write(text)
        mount(None, "/", None, REC | PRIVATE)
    except OSError as error:
        raise NamespacesRefusedError(str(error)) from error


def inside(root: str, path: str) -> str:
    """Where a path of the step lies here: links of an image are followed as the step would, `..` stops at the top."""
    done: list[str] = []
    todo, links = path.split("/"), 0
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([root, *done, part])
        if not os.path.islink(here):
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(f"{path!r} leads through more than {MAX_LINKS} links")
        target = os.readlink(here)
        done = [] if target.startswith("/") else done
        todo[:0] = target.split("/")
    return "/".join([root, *done])


def place(root: str, path: str, *, directory: bool) -> str:
    """A mount point below the new root."""
    target = inside(root, path)
    os.makedirs(target if directory else os.path.dirname(target), mode=0o755, exist_ok=True)
    if not directory and not os.path.lexists(target):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644))
    return target


def bare_root(spec: dict[str, Any]) -> str:
    """A small tmpfs that holds mount points and links alone."""
    root: str = spec["root"]
    mount("root", root, "tmpfs", NOSUID | NODEV, "size=4m,mode=755")
    for path, target in spec["links"].items():
        os.symlink(target, root + path)
    return root


def image_root(spec: dict[str, Any]) -> str:
    """An image below a layer of its own, of limited size, that is gone with the step."""
    base, image = spec["root"], spec["image"]
    mount("root", base, "tmpfs", NOSUID | NODEV, f"size={image['layer']},mode=755")
    for name in ("upper", "work", "merged"):
        os.mkdir(f"{base}/{name}")
        os.chmod(f"{base}/{name}", 0o755)  # noqa: S103 - the mode of every image's root
    lower = image["root"].replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
    options = f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work,userxattr"
    try:
        mount("overlay", f"{base}/merged", "overlay", NOSUID | NODEV, options)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror} (images need overlay mounts by users: Linux 5.11 or later)"
        ) from error
    return f"{base}/merged"


def build_root(spec: dict[str, Any]) -> str:
    """A root of its own: the host's programs or an image, then devices, the cube, its inputs and outputs."""
    root = image_root(spec) if spec["image"] else bare_root(spec)
    scratch = f"size={spec['tmp']},mode=1777"
    for path, text in spec["files"].items():
        with open(place(root, path, directory=False), "w", encoding="utf-8") as file:
            file.write(text)
    place(root, spec["cwd"], directory=True)
    devices = place(root, "/dev", directory=True)
    mount("dev", devices, "tmpfs", NOSUID | NOEXEC, "size=64k,mode=755")
    for device in ("null", "zero", "full", "random", "urandom"):
        bind(f"/dev/{device}", place(root, f"/dev/{device}", directory=False), NOSUID | NOEXEC)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink("/proc/self/fd" + target, f"{devices}/{name}")
    mount("shm", place(root, "/dev/shm", directory=True), "tmpfs", NOSUID | NODEV | NOEXEC, scratch)
    if "root" not in spec["weaken"]:
        mount(None, devices, None, REMOUNT | BIND | RDONLY | NOSUID | NOEXEC)
    mount("tmp", place(root, "/tmp", directory=True), "tmpfs", NOSUID | NODEV, scratch)
    for source, target, writable, executable in spec["mounts"]:
        flags = NOSUID | NODEV | (0 if executable else NOEXEC) | (0 if writable else RDONLY)
        bind(source, place(root, target, directory=os.path.isdir(source)), flags)
    mount_proc(place(root, "/proc", directory=True), spec)
    return root


def mount_proc(target: str, spec: dict[str, Any]) -> None:
    """Read-only, because the kernel lets the host's root write /proc/sys by its uid alone, without any capability."""
    flags = NOSUID | NODEV | NOEXEC | (0 if "settings" in spec["weaken"] else RDONLY)
    if "processes" in spec["weaken"]:
        bind("/proc", target, flags)
        return
    try:
        mount("proc", target, "proc", flags)
    except PermissionError as error:  # a container whose own /proc is partly covered
        raise NamespacesRefusedError(str(error)) from error


def change_root(root: str, spec: dict[str, Any]) -> None:
    os.mkdir(root + "/.old")
    if "root" not in spec["weaken"] and not spec["disposable"]:
        mount(None, root, None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)
    if libc.syscall(PIVOT_ROOT[os.uname().machine], _bytes(root), _bytes(root + "/.old")) != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    if "files" not in spec["weaken"]:
        call("umount2", b"/.old", DETACH)
    if "names" not in spec["weaken"]:
        call("sethostname", b"step", 4)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (most, most))


def give_up_privileges(spec: dict[str, Any]) -> None:
    if "capabilities" not in spec["weaken"]:
        for capability in range(LAST_CAPABILITY + 1):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if "capabilities" not in spec["weaken"]:
        call("capset", ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), (_Data * 2)())
    code = base64.b64decode(spec["filter"])
    if code:
        buffer = ctypes.create_string_buffer(code, len(code))
        program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
        if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")


def become(spec: dict[str, Any]) -> NoReturn:
    """Replace this program by the cube's. Lookup by hand: os.execvpe imports, and nothing can be imported here."""
    command, environment = spec["command"], spec["environment"]
    names = [""] if "/" in command[0] else [folder + "/" for folder in environment["PATH"].split(":")]
    for name in names:
        try:
            os.execve(name + command[0], command, environment)
        except FileNotFoundError:
            continue
        except OSError as error:
            os.write(2, f"cannot start {command[0]!r}: {error.strerror}\n".encode())
            os._exit(126)
    os.write(2, f"there is no program {command[0]!r} in this cube\n".encode())
    os._exit(127)


def tidy(spec: dict[str, Any], status: int) -> None:
    """Everything a program inherits is as on a fresh start: descriptors, signals, limits, directory."""
    os.chdir(spec["cwd"])
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.closerange(3, status)
    os.closerange(status + 1, 1 << 16)
    limit(spec["limits"])
    for number in range(1, signal.NSIG):
        if number not in {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
            signal.signal(number, signal.SIG_DFL)


def adopt(program: int) -> NoReturn:
    """Process one of the step: waits for everybody, and ends with the program, which ends everybody."""
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def die_with_parent(alive: int) -> None:
    """The kernel ends this process with its parent; if that is gone already, the pipe says so."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([alive], [], [], 0)[0]:
        os._exit(125)


def be_the_step(spec: dict[str, Any], status: int, alive: int) -> NoReturn:
    try:
        die_with_parent(alive)
        os.setsid()
        if not spec["plain"]:
            change_root(build_root(spec), spec)
        tidy(spec, status)
        give_up_privileges(spec)
        os.close(status)
        program = 0 if spec["plain"] else os.fork()
        if program == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor must learn of it
        tell_problem(status, error)
    if program:
        adopt(program)
    become(spec)


def end_descendants() -> None:
    """Without a pid namespace: end whoever was left behind, until nobody is."""
    while True:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            children = [int(pid) for pid in file.read().split()]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def wait_for(child: int, status: int, *, plain: bool) -> NoReturn:
    """Wait until the step is over, its last process included; SIGTERM ends it at once."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if plain:
        end_descendants()
    tell(status, peak=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
    os._exit(code if code >= 0 else 128 - code)


def main() -> None:
    status = int(sys.argv[1])
    os.set_inheritable(status, False)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    spec: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    if os.getppid() != spec["parent"]:
        os._exit(125)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    alive, held = os.pipe()
    try:
        for path in spec["cgroups"]:
            with open(path, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        if spec["plain"]:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        else:
            enter_namespaces(spec)
        child = os.fork()
    except (OSError, NamespacesRefusedError) as error:
        tell_problem(status, error)
    if child == 0:
        os.close(held)
        be_the_step(spec, status, alive)
    wait_for(child, status, plain=spec["plain"])


if __name__ == "__main__":
    main()
