"""The reviewed Job that every step is made of, and the protections without which the agent does not use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from agents.runtimes.protocol import RuntimeSetupError

TEMPLATE: Final = Path(__file__).parents[3] / "k8s" / "site" / "base" / "step-job.yaml"
STEP: Final = "step"
COMPONENT: Final = "app.kubernetes.io/component"

_POD: Final = "spec.template.spec"
_CONTAINER: Final = f"{_POD}.containers.0"
PROTECTIONS: Final[Mapping[str, object]] = {
    "kind": "Job",
    "spec.backoffLimit": 0,
    "spec.completions": 1,
    "spec.parallelism": 1,
    "spec.template.metadata.labels": {"app.kubernetes.io/name": "assay", COMPONENT: STEP},
    f"{_POD}.restartPolicy": "Never",
    f"{_POD}.automountServiceAccountToken": False,
    f"{_POD}.enableServiceLinks": False,
    f"{_POD}.hostNetwork": False,
    f"{_POD}.hostPID": False,
    f"{_POD}.hostIPC": False,
    f"{_POD}.shareProcessNamespace": False,
    f"{_POD}.securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    f"{_CONTAINER}.name": STEP,
    f"{_CONTAINER}.securityContext": {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
"""Path in the template to what must be there; of a mapping at least these keys."""
_VOLUMES: Final = {"scratch", "shm"}


def load_template(path: Path | None) -> dict[str, Any]:
    """The template, with every protection in place.

    Raises:
        RuntimeSetupError: it cannot be read, or lacks a protection; says which.
    """
    named = path or TEMPLATE
    try:
        found = yaml.safe_load(named.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RuntimeSetupError(f"the step template {str(named)!r} cannot be read: {error}") from error
    for where, wanted in PROTECTIONS.items():
        have = _at(found, where)
        if not _holds(have, wanted):
            raise RuntimeSetupError(f"the step template {str(named)!r} must say {wanted!r} at {where}, not {have!r}")
    pod = found["spec"]["template"]["spec"]
    if len(pod["containers"]) != 1 or pod.get("initContainers") or "serviceAccountName" in pod:
        raise RuntimeSetupError(f"the step template {str(named)!r} has one container and names no service account")
    volumes = {volume.get("name"): volume for volume in pod.get("volumes", ())}
    if set(volumes) != _VOLUMES or any("emptyDir" not in volume for volume in volumes.values()):
        raise RuntimeSetupError(f"the step template {str(named)!r} has the emptyDir volumes scratch and shm, no others")
    return dict(found)


def _at(found: Any, where: str) -> Any:
    for part in where.split("."):
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict):
            found = found.get(part)
        else:
            return None
    return found


def _holds(have: Any, wanted: object) -> bool:
    if isinstance(wanted, dict):
        return isinstance(have, dict) and all(_holds(have.get(key), value) for key, value in wanted.items())
    return bool(have == wanted) and type(have) is type(wanted)
