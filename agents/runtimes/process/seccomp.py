"""The system-call filter of a step: everything is allowed but what changes the machine, its namespaces or other processes."""

import errno
import stat
import tempfile
from functools import cache
from typing import Final

DENIED: Final = (
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "ptrace", "process_vm_readv",
    "process_vm_writev", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "open_by_handle_at",
    "name_to_handle_at", "io_uring_setup", "io_uring_enter", "io_uring_register", "personality", "swapon",
    "swapoff", "reboot", "syslog", "acct", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "iopl",
    "ioperm", "quotactl", "nfsservctl", "lookup_dcookie", "vm86", "modify_ldt", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "fanotify_init",
)  # fmt: skip
_NEWUSER: Final = 0x10000000
_AF_NETLINK: Final = 16
_S_IFMT: Final = 0o170000


@cache
def filter_program() -> bytes:
    """The filter as BPF instructions, eight bytes each.

    `clone3` answers ENOSYS, because its flags lie in memory where a filter cannot look; libraries then use `clone`,
    which may not make user namespaces. Sockets beyond netlink's number are refused: virtual machine sockets (VSOCK) go
    past the network namespace to the hypervisor, and the kernel's cryptography is of no use to a step.

    Raises:
        OSError, ImportError: libseccomp is not on this machine.
    """
    import pyseccomp  # noqa: PLC0415 - loads a system library, which a machine may lack: the probe says so then

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED:
        try:
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
        except (OSError, ValueError):
            continue  # this architecture or this libseccomp does not know the call
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _NEWUSER, _NEWUSER))
    for name, mode in (("mknod", 1), ("mknodat", 2)):
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name, pyseccomp.Arg(mode, pyseccomp.MASKED_EQ, _S_IFMT, kind))
    for name in ("socket", "socketpair"):
        rules.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), name, pyseccomp.Arg(0, pyseccomp.GT, _AF_NETLINK))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
