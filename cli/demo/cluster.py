"""The cluster that KUBECONFIG names: namespaces of the demonstration's, what runs in them, and their end."""

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from cli.demo.clone import K8S
from cli.demo.kubectl import get, kubectl
from cli.demo.overlays import LABEL
from cli.errors import FailedError, NotSetUpError

_REMOVE_S: Final = 600
_BRING_S: Final = 180
_NO_LOG: Final = "unable to retrieve container logs"
_STUCK: Final = ("CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


@dataclass(slots=True)
class Cluster:
    """What one demonstration makes in a cluster; all of it in namespaces with its mark."""

    mark: str = field(default_factory=lambda: token_hex(3))
    namespaces: list[str] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        """A new one under Pod Security, which the manifests ask for themselves."""
        whole = f"assay-demo-{name}-{self.mark}"
        self.namespaces.append(whole)  # before it is there: whatever comes in between, it will be removed
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": whole, "labels": {LABEL: self.mark}}}
        kubectl("apply", "-f", "-", stdin=json.dumps(made))
        return whole

    def remove(self) -> None:
        """Take all of it away, and wait until it has gone.

        Raises:
            FailedError: something stays; says how to remove it.
        """
        if not self.namespaces:
            return
        kubectl("delete", "namespace", "--ignore-not-found", "--wait=false", *self.namespaces)
        for namespace in self.namespaces:
            # Agents have two minutes to hand over what they do. Here nobody takes over.
            kubectl(
                "-n", namespace, "delete", "pods", "--all", "--ignore-not-found", "--wait=false", "--grace-period=1"
            )
        names = [f"namespace/{each}" for each in self.namespaces]
        try:
            kubectl("wait", "--for=delete", f"--timeout={_REMOVE_S}s", *names)
        except FailedError as error:
            how = f"kubectl delete namespace -l {LABEL}={self.mark}"
            raise FailedError(
                f"not everything has gone from the cluster after {_REMOVE_S} s ({error}): {how}"
            ) from error
        self.namespaces.clear()


def find_cluster() -> Cluster:
    """The cluster that the federation is to stand in.

    Raises:
        NotSetUpError: something of it is missing; says what to do.
    """
    if not os.environ.get("KUBECONFIG"):
        raise NotSetUpError("no Kubernetes cluster is named: set KUBECONFIG (k8s/README.md has one for a laptop)")
    if shutil.which("kubectl") is None:
        raise NotSetUpError("kubectl is not on PATH: install one of 1.27 or later")
    if not K8S.is_dir():
        raise NotSetUpError(f"the manifests are not in {str(K8S)!r}: run the demonstration from a clone")
    try:
        kubectl("version", "-o", "json", "--request-timeout=15s")
    except FailedError as error:
        raise NotSetUpError(f"the cluster that KUBECONFIG names does not answer: {error}") from error
    return Cluster()


def is_ready(namespace: str, component: str) -> bool:
    """Whether the one pod of a Deployment can be used.

    Raises:
        FailedError: it will not come up; with the reason, and the end of its log.
    """
    pods = get("pods", "-n", namespace, "-l", f"app.kubernetes.io/component={component}")["items"]
    for pod in pods:
        status = pod["status"]
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            _require_hope(namespace, pod["metadata"]["name"], container)
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for pod in pods
        for condition in pod["status"].get("conditions", ())
    )


def _require_hope(namespace: str, pod: str, container: dict[str, Any]) -> None:
    waiting = container["state"].get("waiting", {})
    if waiting.get("reason") not in _STUCK:
        return
    said = waiting.get("message", "")
    if container["restartCount"]:
        said += "\n" + _last_words(namespace, pod, container["name"])
    raise FailedError(f"{container['name']!r} of {pod!r} in {namespace!r}: {waiting['reason']}: {said.strip()}")


def _last_words(namespace: str, pod: str, container: str) -> str:
    """The end of a container's log. A node removes those that ended, and what it tells of the last may be a moment old."""
    for _ in range(5):
        said = kubectl("-n", namespace, "logs", pod, "-c", container, "--previous", "--tail=15")
        if not said.startswith(_NO_LOG):
            return said
        time.sleep(1)
    return ""


def bring(namespace: str, claim: str, image: str, archive: Path) -> None:
    """Unpack a tar archive into a claim, by a pod that is there for as long as it takes.

    Raises:
        FailedError: the pod does not come up, or cannot write.
    """
    name = "bring"
    kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(_bringer(name, claim, image)))
    kubectl("-n", namespace, "wait", "--for=condition=Ready", f"--timeout={_BRING_S}s", f"pod/{name}")
    unpack = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/data')"
    kubectl("-n", namespace, "exec", "-i", name, "--", "python3", "-c", unpack, stdin=archive.read_bytes())
    kubectl("-n", namespace, "delete", "pod", name, "--wait=false", "--grace-period=0", "--force")


def _bringer(name: str, claim: str, image: str) -> dict[str, Any]:
    """As hardened as everything in a namespace that is `restricted`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "bring",
                    "image": image,
                    "command": ["python3", "-c", "import signal; signal.pause()"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
