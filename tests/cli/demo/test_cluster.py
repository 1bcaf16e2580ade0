"""Where the demonstration's steps run, when that is a cluster: what it needs, and what it makes there."""

import json
import os
from pathlib import Path

import pytest

from agents.home import read_private
from cli.demo.cast import Hospital, actor
from cli.demo.cluster import find_cluster
from cli.errors import NotSetUpError
from tests.cli.support import Assay
from tests.clusters import Namespace, Registry, image_registry, kubectl, namespace, wait_for

REGISTRY = os.environ.get("ASSAY_TEST_REGISTRY")
"""Before the tests' own environment takes it away."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    if REGISTRY is not None:
        monkeypatch.setenv("ASSAY_TEST_REGISTRY", REGISTRY)
    return image_registry()


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    raw = tmp_path / "exports"
    (raw / "data").mkdir(parents=True)
    (raw / "data" / "cases.csv").write_text("case_id\n1\n")
    people = actor("Operator", "North", "north"), actor("Data owner", "North", "north")
    return Hospital("north", "North", 1, raw, tmp_path / "home", *people)


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
            find_cluster(tmp_path)

    def test_another_runtime_is_usage(self, assay: Assay) -> None:
        assert assay("demo", "--runtime", "abacus").code == 2


@pytest.mark.kubernetes
class TestImage:
    @pytest.fixture(autouse=True)
    def _cluster(self) -> None:
        with namespace("demo-image"):
            """Skips where there is none."""

    def test_without_an_image_it_says_what_to_push(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ASSAY_TEST_REGISTRY", raising=False)
        monkeypatch.delenv("ASSAY_DEMO_IMAGE", raising=False)
        with pytest.raises(NotSetUpError, match="ASSAY_DEMO_IMAGE"):
            find_cluster(tmp_path)

    def test_an_image_that_is_not_there_is_named(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASSAY_DEMO_IMAGE", f"{registry.host}/nobody:none")
        with pytest.raises(NotSetUpError, match="cannot be found"):
            find_cluster(tmp_path)


@pytest.mark.kubernetes
class TestOpen:
    def test_a_hospital_gets_a_namespace_and_no_more_rights_than_a_site(
        self, hospital: Hospital, registry: Registry, tmp_path: Path
    ) -> None:
        registry.python()
        environments = tmp_path / "environments"
        (environments / "one").mkdir(parents=True)
        (environments / "one" / "module.py").write_text("x = 1\n")
        with namespace("demo-skip"), find_cluster(tmp_path / "applied") as cluster:
            assert "@sha256:" in cluster.image
            where, words = cluster.open(hospital, environments)
            [name] = [word.partition('namespace = "')[2].partition('"')[0] for word in words if "namespace" in word]
            own = Namespace(name)
            assert (where / "one" / "module.py").read_text() == "x = 1\n"
            assert (hospital.raw / "data" / "cases.csv").is_file()
            assert hospital.home.parent == hospital.raw.parent == where.parent
            assert own.get("deployments")["items"] == []
            config = tmp_path / "applied" / "north.kubeconfig"
            json.loads(read_private(config))
            assert "assay-agent" in kubectl("auth", "whoami", kubeconfig=config)
            assert "orbidden" in kubectl("-n", name, "get", "secrets", kubeconfig=config, check=False)
            assert (
                own.kubectl("auth", "can-i", "create", "jobs", "--as", f"system:serviceaccount:{name}:assay-agent")
                == "yes\n"
            )
        wait_for(lambda: _is_going(name), "the namespace to go")


def _is_going(name: str) -> bool:
    said = kubectl("get", "namespace", name, "-o", "jsonpath={.status.phase}", check=False)
    return said == "Terminating" or "NotFound" in said
