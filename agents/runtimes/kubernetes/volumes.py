"""From paths that the agent sees to volumes of a step: one folder or file each, never what lies beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.runtimes.kubernetes.settings import KubernetesSettings, VolumeMapping
from agents.runtimes.protocol import RuntimeSetupError


class StepVolumes:
    """Collects the mounts of one step.

    Args:
        settings: which folder of the agent is which claim.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._mappings = sorted(settings.volumes, key=lambda mapping: -len(mapping.path.parts))
        self._used: list[VolumeMapping] = []
        self.mounts: list[dict[str, Any]] = []

    def add(self, path: Path, target: str, *, writable: bool = False) -> None:
        """Mount a path of the agent at `target`.

        Raises:
            RuntimeSetupError: no volume holds it, or the one that does is read-only.
        """
        real = path.resolve()
        mapping = self.mapping_of(real)
        if writable and mapping.read_only:
            raise RuntimeSetupError(f"{str(real)!r} is to be written, but its volume is set up as read_only")
        if mapping not in self._used:
            self._used.append(mapping)
        mount: dict[str, Any] = {"name": f"site-{self._used.index(mapping)}", "mountPath": target}
        below = Path(mapping.sub_path) / real.relative_to(mapping.path.resolve())
        if str(below) != ".":
            mount["subPath"] = below.as_posix()
        if not writable:
            mount["readOnly"] = True
        self.mounts.append(mount)

    def mapping_of(self, real: Path) -> VolumeMapping:
        """The volume that a path lies in; the innermost one.

        Raises:
            RuntimeSetupError: there is none.
        """
        for mapping in self._mappings:
            if real.is_relative_to(mapping.path.resolve()):
                return mapping
        known = ", ".join(repr(str(mapping.path)) for mapping in self._mappings)
        raise RuntimeSetupError(
            f"{str(real)!r} is in none of the site's volumes ({known}): name the claim that holds it under"
            " kubernetes.volumes in site.toml, or move it"
        )

    def volumes(self) -> Iterator[dict[str, Any]]:
        for number, mapping in enumerate(self._used):
            name = f"site-{number}"
            if mapping.claim is not None:
                yield {"name": name, "persistentVolumeClaim": {"claimName": mapping.claim}}
            else:
                yield {"name": name, "hostPath": {"path": str(mapping.host_path), "type": "Directory"}}
