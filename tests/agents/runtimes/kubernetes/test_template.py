"""The Job of a step, without a cluster: what the reviewed template must hold, and what is filled in."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from agents.runtimes.kubernetes.manifest import Around, job_name, step_job
from agents.runtimes.kubernetes.template import PROTECTIONS, TEMPLATE, load_template
from agents.runtimes.protocol import RuntimeSetupError
from tests.agents.runtimes.kubernetes.places import make_request, settings_for

AROUND = Around("north", 10001, 10001)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """The template of this repository, changed by a function, as a file."""

    def change(by: Callable[[dict[str, Any]], None]) -> Path:
        document = yaml.safe_load(TEMPLATE.read_text())
        by(document)
        (tmp_path / "template.yaml").write_text(yaml.safe_dump(document))
        return tmp_path / "template.yaml"

    return change


def _drop(document: Any, path: str) -> None:
    *parents, last = path.split(".")
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document[part]
    del document[last]


class TestTemplate:
    def test_ours_is_taken(self) -> None:
        assert load_template(None)["kind"] == "Job"

    @pytest.mark.parametrize("path", PROTECTIONS)
    def test_one_without_a_protection_is_not(self, changed: Callable[..., Path], path: str) -> None:
        with pytest.raises(RuntimeSetupError, match=f"must say .* at {path}"):
            load_template(changed(lambda document: _drop(document, path)))

    @pytest.mark.parametrize("capability", [[], ["NET_RAW"]])
    def test_one_that_gives_back_a_capability_is_not(self, changed: Callable[..., Path], capability: list[str]) -> None:
        def weaken(document: Any) -> None:
            document["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"] = (
                capability
            )

        with pytest.raises(RuntimeSetupError, match="securityContext"):
            load_template(changed(weaken))

    @pytest.mark.parametrize(
        "extra",
        [
            {"serviceAccountName": "admin"},
            {"initContainers": [{"name": "first"}]},
            {"containers": [{"name": "step"}, {"name": "second"}]},
            {"volumes": [{"name": "scratch", "hostPath": {"path": "/"}}, {"name": "shm", "emptyDir": {}}]},
        ],
    )
    def test_one_that_brings_something_along_is_not(self, changed: Callable[..., Path], extra: dict[str, Any]) -> None:
        with pytest.raises(RuntimeSetupError, match="template"):
            load_template(changed(lambda document: document["spec"]["template"]["spec"].update(extra)))

    def test_one_that_adds_what_a_site_needs_is(self, changed: Callable[..., Path]) -> None:
        affinity: dict[str, Any] = {"nodeAffinity": {}}
        path = changed(lambda document: document["spec"]["template"]["spec"].update(affinity=affinity))
        assert load_template(path)["spec"]["template"]["spec"]["affinity"] == affinity

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeSetupError, match="cannot be read"):
            load_template(tmp_path / "none.yaml")


class TestName:
    def test_it_follows_from_site_and_key_alone(self) -> None:
        name = job_name("north", "Model_A-infer-12ab-1")
        assert name == job_name("north", "Model_A-infer-12ab-1")
        assert len({name, job_name("south", "Model_A-infer-12ab-1"), job_name("north", "Model-A-infer-12ab-1")}) == 3
        assert name.startswith("model-a-infer-12ab-1-")

    def test_a_long_or_strange_key_is_still_a_label(self) -> None:
        assert len(job_name("north", "x" * 300)) <= 63
        assert job_name("north", "***").startswith("step-")


class TestJob:
    def test_what_a_step_asks_for(self, tmp_path: Path) -> None:
        settings = settings_for(
            tmp_path,
            node_selector={"gpu": "a100"},
            tolerations=[{"key": "gpu", "operator": "Exists"}],
            runtime_class="kata",
            priority_class="low",
            pull_secrets=["registry"],
            scratch_mib=32,
        )
        run = "{command: python3 main.py, shm_size: 8m}"
        request = make_request(tmp_path, run=run, resources="{cpu: 1.5, memory: 64Mi, gpu: 2}", key="a-infer-1-1")
        template = load_template(None)
        before = copy.deepcopy(template)
        job = step_job(template, request, settings, AROUND)
        pod = job["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert template == before, "the template is used again"
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["resources"]["limits"] | {"memory": 0} == {
            "cpu": "1500m", "memory": 0, "ephemeral-storage": "4096Mi", "nvidia.com/gpu": "2",
        }  # fmt: skip
        assert (pod["nodeSelector"], pod["runtimeClassName"], pod["priorityClassName"]) == (
            {"gpu": "a100"},
            "kata",
            "low",
        )
        assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert {each["name"]: each.get("emptyDir", {}).get("sizeLimit") for each in pod["volumes"]} == {
            "scratch": "32Mi", "shm": str(8 << 20), "site-0": None,
        }  # fmt: skip
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
        assert job["metadata"]["annotations"]["assay/key"] == "a-infer-1-1"

    def test_the_cluster_keeps_the_deadline_where_the_agent_cannot(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, pull_s=100, pending_s=1000)
        job = step_job(load_template(None), make_request(tmp_path, deadline_s=7), settings, AROUND)
        assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 107
        assert job["spec"]["activeDeadlineSeconds"] == 1107

    def test_each_volume_is_one_folder_and_inputs_cannot_be_written(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, volumes=[{"path": tmp_path, "claim": "assay-site", "sub_path": "north"}])
        request = make_request(tmp_path)
        job = step_job(load_template(None), request, settings, AROUND)
        mounts = {each["mountPath"]: each for each in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
        data = request.volumes["data_path"].relative_to(tmp_path)
        assert mounts["/in/data"] == {
            "name": "site-0", "mountPath": "/in/data", "subPath": f"north/{data}", "readOnly": True,
        }  # fmt: skip
        assert "readOnly" not in mounts["/out/predictions"]
        assert mounts["/cube"]["readOnly"] is True
        assert all("subPath" in each for each in mounts.values() if each["name"].startswith("site-"))

    def test_the_innermost_volume_counts_and_read_only_ones_take_no_output(self, tmp_path: Path) -> None:
        request = make_request(tmp_path)
        inner = request.volumes["data_path"]
        volumes = [{"path": tmp_path, "claim": "outer"}, {"path": inner, "claim": "archive", "read_only": True}]
        job = step_job(load_template(None), request, settings_for(tmp_path, volumes=volumes), AROUND)
        claims = [
            each.get("persistentVolumeClaim", {}).get("claimName")
            for each in job["spec"]["template"]["spec"]["volumes"]
        ]
        assert set(claims) == {None, "outer", "archive"}
        closed = settings_for(tmp_path, volumes=[{"path": tmp_path, "claim": "archive", "read_only": True}])
        with pytest.raises(RuntimeSetupError, match="read_only"):
            step_job(load_template(None), request, closed, AROUND)

    def test_what_lies_in_no_volume_is_not_mounted(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, volumes=[{"path": tmp_path / "elsewhere", "claim": "assay-site"}])
        with pytest.raises(RuntimeSetupError, match="is in none of the site's volumes"):
            step_job(load_template(None), make_request(tmp_path), settings, AROUND)


class TestSettings:
    def test_a_path_of_the_node_needs_a_word(self, tmp_path: Path) -> None:
        volumes = [{"path": tmp_path, "host_path": tmp_path}]
        with pytest.raises(ValidationError, match="allow_host_path"):
            settings_for(tmp_path, volumes=volumes)
        assert settings_for(tmp_path, volumes=volumes, allow_host_path=True).volumes[0].claim is None

    @pytest.mark.parametrize(
        "volume",
        [
            {"path": "/site"},
            {"path": "/site", "claim": "a", "host_path": "/b"},
            {"path": "site", "claim": "a"},
            {"path": "/site", "claim": "a", "sub_path": "../b"},
            {"path": "/site", "claim": "a", "sub_path": "/b"},
        ],
    )
    def test_a_volume_is_one_thing_at_one_place(self, tmp_path: Path, volume: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            settings_for(tmp_path, volumes=[volume], allow_host_path=True)

    @pytest.mark.parametrize("image", ["python:3.11", "python", f"python@sha256:{'0' * 63}"])
    def test_the_image_is_named_by_digest(self, tmp_path: Path, image: str) -> None:
        with pytest.raises(ValidationError, match="image"):
            settings_for(tmp_path, image=image)


class TestNode:
    """The scheduler takes no notice of a claim that only one node can mount."""

    def _pod(self, tmp_path: Path, node: str | None = "node-7", **settings: Any) -> dict[str, Any]:
        request, wanted = make_request(tmp_path), settings_for(tmp_path, node_selector={"kind": "gpu"}, **settings)
        job = step_job(load_template(None), request, wanted, replace(AROUND, node=node))
        return dict(job["spec"]["template"]["spec"])

    def test_a_step_runs_where_the_agent_has_its_volumes(self, tmp_path: Path) -> None:
        pod = self._pod(tmp_path)
        [term] = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-7"]}]}
        assert pod["nodeSelector"] == {"kind": "gpu"}

    def test_anywhere_where_several_nodes_can_mount_them(self, tmp_path: Path) -> None:
        assert "affinity" not in self._pod(tmp_path, several_nodes=True)

    def test_an_agent_outside_the_cluster_has_no_node(self, tmp_path: Path) -> None:
        assert "affinity" not in self._pod(tmp_path, node=None)

    def test_what_else_a_template_wishes_stays(self, changed: Callable[..., Path], tmp_path: Path) -> None:
        wish: dict[str, Any] = {"podAntiAffinity": {}}
        path = changed(lambda document: document["spec"]["template"]["spec"].update(affinity=wish))
        job = step_job(load_template(path), make_request(tmp_path), settings_for(tmp_path), replace(AROUND, node="n"))
        assert set(job["spec"]["template"]["spec"]["affinity"]) == {"podAntiAffinity", "nodeAffinity"}
