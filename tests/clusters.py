"""A real cluster for tests: a namespace of their own under Pod Security `restricted`, a claim, an image by digest.

Without KUBECONFIG the tests skip. Pods must be able to pull from ASSAY_TEST_REGISTRY, and the claims' folders must be on
this host: tests play the agent, which sees its claim as a folder.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

LONG_S: Final = 90.0
DENY: Final = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: steps-have-no-network}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/component: step}}
  policyTypes: [Ingress, Egress]
"""
CLAIM: Final = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: assay-site}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT: Final = f"{_MANIFEST}, application/vnd.oci.image.manifest.v1+json"
_HOW: Final = "set KUBECONFIG to a cluster for tests (see k8s/README.md)"


def kubectl(*words: str, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None) -> str:
    """Run kubectl and give what it printed."""
    done = subprocess.run(
        [shutil.which("kubectl") or "kubectl", *words],
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
        env=os.environ | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = LONG_S) -> Any:
    """The first true answer of a condition."""
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {limit_s} s in vain for {what}"
        time.sleep(0.2)
    return found


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace of the tests' own."""

    name: str

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        return kubectl("-n", self.name, *words, stdin=stdin, check=check)

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def pods_of(self, job: str) -> list[dict[str, Any]]:
        return list(self.get("pods", "-l", f"batch.kubernetes.io/job-name={job}")["items"])

    def claim_folder(self, claim: str) -> Path:
        """Where a claim lies on this host, which is the node."""
        volume = wait_for(lambda: self.get("pvc", claim)["spec"].get("volumeName"), f"the claim {claim!r} to be bound")
        spec = json.loads(kubectl("get", "pv", volume, "-o", "json"))["spec"]
        path = Path((spec.get("local") or spec.get("hostPath") or {"path": "/nowhere"})["path"])
        if not path.is_dir():
            pytest.skip("the claim's folder is not on this host: run the tests on the cluster's node")
        return path


@contextlib.contextmanager
def namespace(purpose: str, *, security: str = "restricted") -> Iterator[Namespace]:
    """A namespace for as long as the block lasts; skips where there is no cluster."""
    if "KUBECONFIG" not in os.environ or shutil.which("kubectl") is None:
        pytest.skip(f"no Kubernetes cluster: {_HOW}, and put kubectl on PATH")
    name = f"assay-{purpose}-{uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, f"pod-security.kubernetes.io/enforce={security}")
        yield Namespace(name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


class Registry:
    """The image registry that the cluster pulls from; variants of an image are made by its manifest alone."""

    def __init__(self, host: str) -> None:
        self.host = host

    def python(self) -> str:
        """The Python image, by digest; skips where nobody has made it."""
        with contextlib.suppress(urllib.error.HTTPError):
            return f"{self.host}/python@{self._document('python', 'manifests/3.11')[1]}"
        maker = shutil.which("make-python-image")
        if maker is None:
            pytest.skip(f"{self.host} has no image python:3.11: push one with a python3 that steps can run on")
        return subprocess.run([maker], capture_output=True, text=True, check=True).stdout.strip()

    def variant(self, image: str, **changes: Any) -> str:
        """The same layers under another configuration (Entrypoint, Cmd, User, WorkingDir, Env), pushed, by digest."""
        repository, _, digest = image.removeprefix(f"{self.host}/").partition("@")
        manifest = json.loads(self._document(repository, f"manifests/{digest}")[0])
        config = json.loads(self._document(repository, f"blobs/{manifest['config']['digest']}")[0])
        config["config"] = {**config.get("config", {}), **changes}
        new = f"variant-{uuid4().hex[:8]}"
        for layer in manifest["layers"]:
            self._call("POST", f"{new}/blobs/uploads/?mount={layer['digest']}&from={repository}")
        body = json.dumps(config).encode()
        manifest["config"] |= {"digest": _digest(body), "size": len(body)}
        self._push_blob(new, body)
        text = json.dumps(manifest).encode()
        self._call("PUT", f"{new}/manifests/{_digest(text)}", text, {"Content-Type": manifest["mediaType"]})
        return f"{self.host}/{new}@{_digest(text)}"

    def _push_blob(self, repository: str, body: bytes) -> None:
        place = self._call("POST", f"{repository}/blobs/uploads/").headers["Location"]
        where = place.removeprefix(f"http://{self.host}").removeprefix("/v2/")
        joint = "&" if "?" in where else "?"
        self._call("PUT", f"{where}{joint}digest={_digest(body)}", body, {"Content-Type": "application/octet-stream"})

    def _document(self, repository: str, path: str) -> tuple[bytes, str]:
        with self._call("GET", f"{repository}/{path}", headers={"Accept": _ACCEPT}) as answer:
            body: bytes = answer.read()
        return body, _digest(body)

    def _call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", method=method, headers=dict(headers or {}))
        if method in {"POST", "PUT"}:
            request.data = body
        return urllib.request.urlopen(request, timeout=30)


def image_registry() -> Registry:
    """The registry, or a skip that says what to set."""
    if "ASSAY_TEST_REGISTRY" not in os.environ:
        pytest.skip("no image registry: set ASSAY_TEST_REGISTRY to one that the cluster's nodes pull from")
    return Registry(os.environ["ASSAY_TEST_REGISTRY"])


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
