"""Why steps cannot be set up here: the kernel or the machine is at fault, never a cube."""

from agents.runtimes.probe import ProtectionMissingError
from agents.runtimes.protocol import RuntimeSetupError


class SurroundingsError(RuntimeSetupError):
    """A step's root and mounts could not be made."""


def namespaces_refused(problem: str) -> ProtectionMissingError:
    return ProtectionMissingError(
        "namespaces_are_allowed",
        f"this kernel does not let a step have namespaces of its own ({problem}): allow unprivileged user namespaces"
        " (kernel.unprivileged_userns_clone, user.max_user_namespaces, AppArmor's restriction), or use another"
        " runtime; the deny probe shows what is missing",
    )


def filter_missing(error: Exception) -> ProtectionMissingError:
    return ProtectionMissingError(
        "filter_is_available",
        f"system calls cannot be filtered ({error}): install libseccomp2, which pyseccomp loads",
    )
