"""Steps of the demonstration as pods: a namespace for each hospital, made of the manifests in `k8s/site`.

The agents run on this machine, each with the rights of its hospital's service account and no others. They see their claims
as folders: this machine is the cluster's node, or one of kind's (k8s/kind.yaml).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

from cli.demo.cast import Hospital
from cli.errors import FailedError, NotSetUpError

_SITE: Final = Path(__file__).parents[2] / "k8s" / "site" / "base"
_KIND: Final = Path("build/kind")
_IMAGE, _REGISTRY = "ASSAY_DEMO_IMAGE", "ASSAY_TEST_REGISTRY"
_AGENT: Final = "assay-agent"
_BOUND_S: Final = 120.0


@dataclass(slots=True)
class Cluster:
    """The cluster that KUBECONFIG names. Leaving the block removes what was made in it."""

    image: str
    """Runs cubes that are folders; by digest."""
    folder: Path
    """For what is applied."""
    _made: ExitStack = field(default_factory=ExitStack)

    def open(self, hospital: Hospital, environments: Path) -> tuple[Path, list[str]]:
        """A namespace with all of a site but its agent; the hospital's data and folder lie on its claim from now on.

        Args:
            hospital: whose `home` and `raw` change.
            environments: Python environments that exist; linked, where the disk is the same.

        Returns:
            Where the agent finds environments, and further words for `assay agent init`.

        Raises:
            FailedError: the cluster refuses.
            NotSetUpError: the claims' folders are not on this machine.
        """
        namespace = f"assay-demo-{hospital.name}-{token_hex(3)}"
        _kubectl("create", "namespace", namespace)
        self._made.callback(_kubectl, "delete", "namespace", namespace, "--wait=false")
        _kubectl("apply", "-k", str(self._overlay(hospital.name, namespace)))
        root = _claim_folder(namespace, "assay-site")
        shutil.copytree(hospital.raw, root / "exports")
        shutil.copytree(environments, root / "environments", symlinks=True, copy_function=_link)
        hospital.raw, hospital.home = root / "exports", root / "home"
        table = {
            "namespace": namespace,
            "image": self.image,
            "kubeconfig": str(self._account(hospital.name, namespace)),
        }
        words = ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
        volumes = f'volumes = [{{path = {json.dumps(str(root))}, claim = "assay-site"}}]'
        kubernetes = f"kubernetes = {{{words}, {volumes}}}"
        return root / "environments", ["--set", 'runtime = "kubernetes"', "--set", kubernetes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._made.close()

    def _overlay(self, name: str, namespace: str) -> Path:
        """The base, without the agent's Deployment: it runs here; and with the cluster's own addresses."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        blocks = [f"{host}/32" for host in _api_addresses()]
        addresses = [
            {"op": "replace", "path": f"/spec/egress/0/to/{number}/ipBlock/cidr", "value": block}
            for number, block in enumerate(blocks)
        ]
        small = [{"op": "replace", "path": "/spec/resources/requests/storage", "value": "2Gi"}]
        none = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": _AGENT}, "$patch": "delete"}
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [os.path.relpath(_SITE, folder)],
            "patches": [
                {"patch": json.dumps(none)},
                {"target": {"kind": "PersistentVolumeClaim"}, "patch": json.dumps(small)},
                {"target": {"name": "agent-reaches-the-cluster"}, "patch": json.dumps(addresses)},
            ],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(overlay, indent=2), encoding="utf-8")
        return folder

    def _account(self, name: str, namespace: str) -> Path:
        """A kubeconfig of the hospital's service account: the agent has its rights, and not yours."""
        from agents.home import write_private

        config = json.loads(_kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        token = _kubectl("-n", namespace, "create", "token", _AGENT, "--duration=8h").strip()
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        file = self.folder / f"{name}.kubeconfig"
        write_private(file, json.dumps(config))
        return file


def find_cluster(folder: Path) -> Cluster:
    """The cluster that steps are to run in.

    Args:
        folder: for what is applied to it.

    Raises:
        NotSetUpError: something of it is missing; says what to do.
    """
    if not os.environ.get("KUBECONFIG"):
        raise NotSetUpError("no Kubernetes cluster is named: set KUBECONFIG (k8s/README.md has one for a laptop)")
    if shutil.which("kubectl") is None:
        raise NotSetUpError("kubectl is not on PATH: install one of 1.27 or later")
    if not _SITE.is_dir():
        raise NotSetUpError(f"the manifests are not in {str(_SITE)!r}: run the demonstration from a clone")
    _kubectl("version", "-o", "json")
    return Cluster(_image(), folder)


def _image() -> str:
    """The image that runs cubes which are folders, by digest.

    Raises:
        NotSetUpError: none is named, or its registry has it not.
    """
    from agents.images.errors import ImageError
    from agents.images.registry import RegistryAccess, RegistrySource
    from cubes.image_reference import parse_reference

    python = f"python:{sys.version_info.major}.{sys.version_info.minor}"
    named, registry = os.environ.get(_IMAGE), os.environ.get(_REGISTRY)
    if not named and not registry:
        raise NotSetUpError(
            f"no image for steps: push {python}-slim to a registry that the cluster's nodes reach, and name it in {_IMAGE}"
        )
    reference = parse_reference(named or f"{registry}/{python}")
    access = RegistryAccess(plain_http=frozenset(filter(None, [registry])))
    try:
        with closing(RegistrySource(reference, access)) as source:
            digest = reference.digest or source.resolve()
    except ImageError as error:
        raise NotSetUpError(
            f"the image for steps cannot be found: {error}. Push it, or name another in {_IMAGE}"
        ) from error
    return f"{reference.registry}/{reference.repository}@{digest}"


def _api_addresses() -> tuple[str, str]:
    """The API server as a service, and behind it."""
    service = json.loads(_kubectl("get", "service", "kubernetes", "-o", "json"))["spec"]["clusterIP"]
    label = "kubernetes.io/service-name=kubernetes"
    behind = json.loads(_kubectl("get", "endpointslices", "-l", label, "-o", "json"))["items"][0]
    return service, behind["endpoints"][0]["addresses"][0]


def _claim_folder(namespace: str, claim: str) -> Path:
    """Where a claim lies on this machine."""
    end = time.monotonic() + _BOUND_S
    while not (volume := _object(namespace, "pvc", claim)["spec"].get("volumeName")):
        if time.monotonic() > end:
            raise FailedError(
                f"the claim {claim!r} in {namespace!r} was not bound in {_BOUND_S:.0f} s: is there a storage class?"
            )
        time.sleep(0.2)
    spec = _object(namespace, "pv", volume)["spec"]
    path = Path((spec.get("local") or spec.get("hostPath") or {"path": "/nowhere"})["path"])
    for here in (path, _KIND.resolve() / path.name):
        if here.is_dir():
            return here
    raise NotSetUpError(
        f"the claim's folder {str(path)!r} is not on this machine, where the agents run: use the cluster's own node, or kind"
        " with k8s/kind.yaml"
    )


def _object(namespace: str, *words: str) -> dict[str, Any]:
    return dict(json.loads(_kubectl("-n", namespace, "get", *words, "-o", "json")))


def _kubectl(*words: str) -> str:
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=False)  # noqa: S607 - theirs, from PATH
    if done.returncode:
        raise FailedError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _link(source: str, target: str) -> str:
    """One file more under another name; a copy where that is another disk."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target
