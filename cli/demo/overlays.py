"""What is applied with `kubectl apply -k`: the overlays of `k8s/`, filled in as a platform team fills in its own."""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.demo.cast import Hospital
from cli.demo.clone import K8S
from cli.demo.kubectl import get

LABEL: Final = "assay/demo"
"""On everything that a demonstration makes in a cluster; the value tells one from another."""
API_PORT: Final = 8420
_REGISTRY, _SITE = K8S / "registry" / "overlays" / "embedded", K8S / "site" / "overlays" / "embedded"
_SMALL: Final = {
    "PersistentVolumeClaim": [("/spec/resources/requests/storage", "2Gi")],
    # A laptop has few cores: four processes that mostly wait do not set aside half of one each.
    "Deployment": [("/spec/template/spec/containers/0/resources/requests/cpu", "10m")],
}
Patches = Mapping[str, Sequence[tuple[str, object]]]
"""Kind, or kind/name, to what is replaced: a path in the object, and its new value."""


@dataclass(frozen=True, slots=True)
class Party:
    """One namespace of the demonstration's, and the image that runs there."""

    namespace: str
    image: str
    mark: str
    """The value of `LABEL`."""


def write_registry(folder: Path, party: Party, administrator: Mapping[str, str]) -> Path:
    """An overlay for the registry.

    Args:
        folder: where it is written.
        party: the registry's.
        administrator: what the config map `assay-registry-first` says.
    """
    # Sites of this demonstration and nobody else: not through an Ingress, which not every cluster has.
    sites = [{"namespaceSelector": {"matchLabels": {LABEL: party.mark}}}]
    patches: Patches = {
        **_SMALL,
        "NetworkPolicy/everybody-reaches-the-registry": [("/spec/ingress/0/from", sites)],
    }
    without = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "assay-registry"}}
    first = {
        "name": "assay-registry-first",
        "behavior": "merge",
        "literals": [f"{k}={v}" for k, v in administrator.items()],
    }
    return _write(folder, _REGISTRY, party, patches, first, {**without, "$patch": "delete"})


def write_site(folder: Path, party: Party, hospital: Hospital, registry: str) -> Path:
    """An overlay for a hospital's site.

    Args:
        folder: where it is written.
        party: the hospital's.
        hospital: whose site it is.
        registry: the namespace of the registry.
    """
    there = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": registry}}}],
        "ports": [{"protocol": "TCP", "port": API_PORT}],
    }
    cluster = [
        (f"/spec/egress/0/to/{number}/ipBlock/cidr", f"{host}/32") for number, host in enumerate(_api_addresses())
    ]
    patches: Patches = {
        **_SMALL,
        "NetworkPolicy/agent-reaches-the-cluster": cluster,
        "NetworkPolicy/agent-reaches-the-registry": [("/spec/egress/0", there)],
    }
    settings = {"name": "assay-settings", "behavior": "replace", "files": ["site.toml"]}
    written = _write(folder, _SITE, party, patches, settings)
    (folder / "site.toml").write_text(_site_toml(party, hospital, registry_address(registry)), encoding="utf-8")
    return written


def registry_address(namespace: str) -> str:
    """The registry as pods reach it."""
    return f"http://assay-registry.{namespace}.svc"


def _site_toml(party: Party, hospital: Hospital, registry_url: str) -> str:
    """The overlay's settings with what is this hospital's own."""
    from agents.home import SiteSettings, settings_text

    given = tomllib.loads((_SITE / "site.toml").read_text(encoding="utf-8"))
    given |= {"site": hospital.name, "registry_url": registry_url, "poll_s": 1, "heartbeat_s": 10}
    given["kubernetes"] |= {"namespace": party.namespace, "image": party.image}
    return settings_text(SiteSettings.model_validate(given))


def _write(
    folder: Path, overlay: Path, party: Party, patches: Patches, generator: Mapping[str, Any], *more: Mapping[str, Any]
) -> Path:
    folder.mkdir(parents=True)
    name, _, digest = party.image.partition("@")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": party.namespace,
        "labels": [{"pairs": {LABEL: party.mark}}],
        "resources": [os.path.relpath(overlay, folder)],
        "images": [{"name": "registry.example.org/assay", "newName": name, "digest": digest}],
        "configMapGenerator": [generator],
        "patches": [
            *({"patch": json.dumps(each)} for each in more),
            *(
                {"target": _target(key), "patch": json.dumps([_replace(*each) for each in wanted])}
                for key, wanted in patches.items()
            ),
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=2), encoding="utf-8")
    return folder


def _target(key: str) -> dict[str, str]:
    return dict(zip(("kind", "name"), key.split("/"), strict=False))


def _replace(path: str, value: object) -> dict[str, object]:
    return {"op": "replace", "path": path, "value": value}


def _api_addresses() -> tuple[str, str]:
    """The cluster's API as a service, and the server behind it."""
    service = get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    behind = get("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")["items"][0]
    return service, behind["endpoints"][0]["addresses"][0]
