"""An overlay filled in for a namespace of the tests' own, and pods that try the network there."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.clusters import Namespace, kubectl, wait_for
from tests.k8s.manifests import K8S

CLUSTER: Final = "agent-reaches-the-cluster"
REGISTRY: Final = "agent-reaches-the-registry"
_NO_DIGEST: Final = "sha256:" + "0" * 64
_TRY: Final = """
import json, socket, sys
found = {}
for name, (host, port) in json.loads(sys.argv[1]).items():
    try:
        socket.create_connection((host, port), timeout=4).close()
        found[name] = True
    except OSError:
        found[name] = False
print(json.dumps(found))
"""
_LISTEN: Final = """
import http.server
http.server.ThreadingHTTPServer(("0.0.0.0", 8430), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
Address = tuple[str, int]


def replace(path: str, value: object) -> Mapping[str, object]:
    return {"op": "replace", "path": path, "value": value}


def fill_in(
    folder: Path,
    base: str,
    own: Namespace,
    *,
    image: str = f"registry.example.org/assay@{_NO_DIGEST}",
    site_toml: str | None = None,
    patches: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    components: Sequence[str] = (),
    worker_image: str | None = None,
) -> Path:
    """A folder to apply: an overlay of `k8s/`, as a hospital fills it in.

    Args:
        folder: where it is written.
        base: the overlay, as in `site/overlays/embedded`.
        own: the namespace.
        image: of the application, by digest.
        site_toml: instead of the overlay's.
        patches: kind, or kind/name, to JSON patches of it.
        components: of `k8s/`.
        worker_image: of Prefect's worker, by digest, where flows have pods of their own.
    """
    folder.mkdir(parents=True)
    images = {"registry.example.org/assay": image} | ({"prefect-worker": worker_image} if worker_image else {})
    written: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": own.name,
        "resources": [os.path.relpath(K8S / base, folder.resolve())],
        "components": [os.path.relpath(K8S / each, folder.resolve()) for each in components],
        "images": [
            {"name": name, "newName": named.partition("@")[0], "digest": named.partition("@")[2]}
            for name, named in images.items()
        ],
        "patches": [
            {"target": dict(zip(("kind", "name"), key.split("/"), strict=False)), "patch": json.dumps(list(patch))}
            for key, patch in (patches or {}).items()
        ],
    }
    if site_toml is not None:
        (folder / "site.toml").write_text(site_toml, encoding="utf-8")
        written["configMapGenerator"] = [{"name": "assay-settings", "behavior": "replace", "files": ["site.toml"]}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return folder


def cluster_addresses() -> tuple[Address, Address]:
    """The API as a service, and the server behind it."""
    service = json.loads(kubectl("get", "service", "kubernetes", "-o", "json"))["spec"]
    slices = json.loads(kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes", "-o", "json"))
    [behind] = slices["items"]
    return (service["clusterIP"], 443), (behind["endpoints"][0]["addresses"][0], behind["ports"][0]["port"])


def open_to_the_cluster() -> Mapping[str, Sequence[Mapping[str, object]]]:
    """The patch that every hospital makes: where its cluster's API is."""
    blocks = [f"{host}/32" for host, _ in cluster_addresses()]
    paths = [f"/spec/egress/0/to/{number}/ipBlock/cidr" for number in range(2)]
    return {f"NetworkPolicy/{CLUSTER}": [replace(path, block) for path, block in zip(paths, blocks, strict=True)]}


def a_pod(name: str, image: str, command: Sequence[str], labels: Mapping[str, str]) -> dict[str, Any]:
    """A small hardened pod."""
    hardened = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "only",
                    "image": image,
                    "command": list(command),
                    "securityContext": hardened,
                    "ports": [{"name": "pages", "containerPort": 8430}],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                }
            ],
        },
    }


def listener(own: Namespace, image: str, name: str, labels: Mapping[str, str]) -> Address:
    """A pod that answers at the port of the pages."""
    own.kubectl("create", "-f", "-", stdin=json.dumps(a_pod(name, image, ["python3", "-c", _LISTEN], labels)))
    host = wait_for(lambda: own.get("pod", name)["status"].get("podIP"), f"the address of {name!r}")
    wait_for(lambda: own.get("pod", name)["status"]["phase"] == "Running", f"{name!r} to run")
    return host, 8430


def start_trying(
    own: Namespace, image: str, name: str, labels: Mapping[str, str], addresses: Mapping[str, Address]
) -> None:
    """Start a pod that tries to connect; `tried` gives what it found."""
    command = ["python3", "-c", _TRY, json.dumps(addresses)]
    own.kubectl("create", "-f", "-", stdin=json.dumps(a_pod(name, image, command, labels)))


def tried(own: Namespace, name: str) -> dict[str, bool]:
    wait_for(lambda: own.get("pod", name)["status"]["phase"] in {"Succeeded", "Failed"}, f"{name!r} to end")
    found: dict[str, bool] = json.loads(own.kubectl("logs", name))
    return found
