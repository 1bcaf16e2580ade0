"""The cluster that a federation stands in: what it needs, what is made there, and that nothing stays."""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.cluster import Cluster, bring, find_cluster, is_ready
from cli.demo.kubectl import get, kubectl
from cli.errors import FailedError, NotSetUpError
from tests.cli.support import Assay
from tests.clusters import CLAIM, Namespace, image_registry, namespace, wait_for
from tests.k8s.places import a_pod

REGISTRY = os.environ.get("ASSAY_TEST_REGISTRY")
"""Before the tests' own environment takes it away."""


@pytest.fixture
def own() -> Iterator[Namespace]:
    with namespace("demo") as made:
        yield made


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> str:
    if REGISTRY is not None:
        monkeypatch.setenv("ASSAY_TEST_REGISTRY", REGISTRY)
    return image_registry().python()


class TestFind:
    def test_without_a_cluster_it_says_what_to_set(
        self, assay: Assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBECONFIG", raising=False)
        ended = assay("demo", "--runtime", "kubernetes", "--folder", tmp_path / "demo")
        assert ended.code == 11
        assert "set KUBECONFIG" in ended.err

    def test_without_kubectl_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NotSetUpError, match="kubectl is not on PATH"):
            find_cluster()

    @pytest.mark.kubernetes
    @pytest.mark.usefixtures("own")
    def test_a_cluster_that_does_not_answer_is_named(self, tmp_path: Path) -> None:
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
        (tmp_path / "config").write_text(json.dumps(config))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(tmp_path / "config"))
            with pytest.raises(NotSetUpError, match=r"does not answer.*127\.0\.0\.1:1"):
                find_cluster()

    @pytest.mark.kubernetes
    @pytest.mark.usefixtures("own")
    def test_without_a_registry_for_images_it_says_what_to_set(self, assay: Assay, tmp_path: Path) -> None:
        ended = assay("demo", "--runtime", "kubernetes", "--folder", tmp_path / "demo")
        assert ended.code == 11
        assert "set ASSAY_TEST_REGISTRY" in ended.err

    def test_another_runtime_is_usage(self, assay: Assay) -> None:
        assert assay("demo", "--runtime", "abacus").code == 2


@pytest.mark.kubernetes
class TestRemove:
    @pytest.mark.usefixtures("own")
    def test_everything_with_its_mark_goes_and_nothing_else(self) -> None:
        ours, others = Cluster(), Cluster()
        try:
            other = others.namespace("south")
            made = {ours.namespace(name) for name in ("north", "harbour")}
            ours.remove()
            there = {each["metadata"]["name"] for each in get("namespaces")["items"]}
            assert not made & there
            assert other in there
        finally:
            others.remove()

    @pytest.mark.usefixtures("own")
    def test_one_that_was_never_made_is_in_nobodys_way(self) -> None:
        cluster = Cluster(namespaces=["assay-demo-nowhere-000000"])
        cluster.remove()
        assert cluster.namespaces == []

    @pytest.mark.usefixtures("own")
    def test_pods_do_not_make_it_wait(self, image: str) -> None:
        cluster = Cluster()
        try:
            made = Namespace(cluster.namespace("north"))
            stubborn = a_pod("stubborn", image, ["sh", "-c", "trap '' TERM; sleep 600"], {})
            stubborn["spec"]["terminationGracePeriodSeconds"] = 600
            made.kubectl("create", "-f", "-", stdin=json.dumps(stubborn))
            wait_for(lambda: made.get("pod", "stubborn")["status"]["phase"] == "Running", "it to run")
        finally:
            cluster.remove()
        assert cluster.namespaces == []


@pytest.mark.kubernetes
class TestIsReady:
    def test_only_a_pod_that_can_be_used_is(self, own: Namespace, image: str) -> None:
        labels = {"app.kubernetes.io/component": "agent"}
        assert not is_ready(own.name, "agent")
        own.kubectl("create", "-f", "-", stdin=json.dumps(a_pod("one", image, ["sleep", "600"], labels)))
        wait_for(lambda: is_ready(own.name, "agent"), "it to be ready")
        assert not is_ready(own.name, "registry")

    def test_an_image_that_cannot_be_pulled_is_said(self, own: Namespace, image: str) -> None:
        labels = {"app.kubernetes.io/component": "agent"}
        nothing = image.partition("@")[0] + "@sha256:" + "0" * 64
        own.kubectl("create", "-f", "-", stdin=json.dumps(a_pod("one", nothing, ["sleep", "600"], labels)))
        with pytest.raises(FailedError, match="ImagePullBackOff"):
            wait_for(lambda: is_ready(own.name, "agent"), "the reason")

    def test_one_that_ends_again_and_again_says_its_last_words(self, own: Namespace, image: str) -> None:
        labels = {"app.kubernetes.io/component": "agent"}
        pod = a_pod("one", image, ["sh", "-c", "echo no token here; exit 11"], labels)
        pod["spec"]["restartPolicy"] = "Always"
        own.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        with pytest.raises(FailedError, match=r"(?s)'only' of 'one'.*CrashLoopBackOff.*no token here"):
            wait_for(lambda: is_ready(own.name, "agent") is None, "the reason")  # between two ends it may look ready


@pytest.mark.kubernetes
class TestBring:
    def test_what_is_in_the_archive_lies_on_the_claim(self, own: Namespace, image: str, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cases.csv").write_text("case_id\n1\n")
        with tarfile.open(tmp_path / "export.tar", "w") as tar:
            tar.add(tmp_path / "data", "data")
        own.kubectl("create", "-f", "-", stdin=CLAIM)
        bring(own.name, "assay-site", image, tmp_path / "export.tar")
        reader = a_pod("read", image, ["cat", "/data/data/cases.csv"], {})
        reader["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "assay-site"}}]
        reader["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data", "readOnly": True}]
        own.kubectl("create", "-f", "-", stdin=json.dumps(reader))
        wait_for(lambda: own.get("pod", "read")["status"]["phase"] == "Succeeded", "it to be read")
        assert own.kubectl("logs", "read") == "case_id\n1\n"
        wait_for(lambda: len(own.get("pods")["items"]) == 1, "the pod that brought it to go")

    def test_a_claim_that_is_not_there_is_said(
        self, own: Namespace, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cli.demo.cluster._BRING_S", 2)
        with pytest.raises(FailedError, match=r"pods?/bring"):
            bring(own.name, "nobody", image, tmp_path / "export.tar")
