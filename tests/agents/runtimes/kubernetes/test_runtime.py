"""A step in a pod: gets its inputs, leaves its outputs, and nothing else of the site is there."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.errors import StepFailedError
from agents.runtimes.kubernetes.runtime import NODE_VARIABLE
from agents.runtimes.outputs import safe_outputs
from agents.runtimes.protocol import RuntimeSetupError, StepOutcome, StepRequest
from agents.runtimes.surroundings import SCRATCH
from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.places import Place, make_request, place_in
from tests.agents.runtimes.kubernetes.scene import until
from tests.clusters import CLAIM, DENY, Registry, namespace

pytestmark = [pytest.mark.anyio, pytest.mark.kubernetes]
Run = Callable[..., Awaitable[StepOutcome]]
RequestFor = Callable[..., StepRequest]
WRITE = "from pathlib import Path; Path('/out/predictions/x').write_text('1')\n"
LOOK = """
import json, os
from pathlib import Path
below = {str(path) for top in ("/in", "/out", "/cube", "/env", "/tmp") for path in Path(top).rglob("*")}
mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
def refused(path):
    try:
        Path(path).write_text("x")
    except OSError:
        return True
    return False
Path("/out/predictions/x").write_text(json.dumps({
    "below": sorted(below), "user": os.getuid(), "group": os.getgid(), "groups": os.getgroups(),
    "environment": dict(os.environ), "folder": os.getcwd(), "status": status,
    "read_only": [point for _, point, _, flags, *_ in mounts if "ro" in flags.split(",")],
    "refused": {path: refused(path) for path in ("/in/data/new", "/cube/new", "/new", "/usr/new", "/etc/passwd")},
    "secrets": Path("/var/run/secrets").exists(), "scratch": refused("/tmp/x"), "shm": refused("/dev/shm/x")}))
"""


def _output(request: StepRequest) -> Path:
    return request.volumes["output_path"] / "x"


class TestRun:
    async def test_a_program_reads_its_input_and_writes_its_output(self, place: Place, request_for: RequestFor) -> None:
        request = request_for(
            "from pathlib import Path; Path('/out/predictions/x').write_text(Path('/in/data/cases').read_text())"
        )
        outcome = await place.runtime().run(request)
        assert outcome.ok, outcome.message
        assert outcome.exit_code == 0
        assert outcome.started_at <= outcome.finished_at
        assert _output(request).read_text() == "three cases"
        safe_outputs(request.volumes["output_path"])

    async def test_an_exit_code_is_passed_on_with_the_end_of_the_log(self, run: Run) -> None:
        outcome = await run("import sys; print('first'); print('no such model', file=sys.stderr); sys.exit(7)")
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, 7)
        # Nodes read the two streams side by side: which line comes first is nobody's promise.
        assert sorted(outcome.message.splitlines()[-2:]) == ["first", "no such model"]

    async def test_nothing_written_is_said(self, run: Run) -> None:
        outcome = await run("print('done')")
        assert outcome.error == ErrorClass.OUTPUT_MISSING
        assert "'output_path'" in outcome.message

    async def test_the_log_is_heard_while_the_step_runs(self, place: Place, request_for: RequestFor) -> None:
        heard: list[str] = []
        wait = "while not os.path.exists('/in/data/go'): time.sleep(0.05)"
        request = request_for(f"import os, time\nprint('epoch 1')\n{wait}\nprint('epoch 2')\n{WRITE}")
        running = asyncio.create_task(place.runtime().run(replace(request, tell=heard.append, note=heard.append)))
        async with asyncio.timeout(60):
            while "epoch 1" not in heard:
                assert not running.done()
                await asyncio.sleep(0.05)
        assert "epoch 2" not in heard
        (request.volumes["data_path"] / "go").touch()
        assert (await running).ok
        assert [line for line in heard if line.startswith("epoch")] == ["epoch 1", "epoch 2"]
        assert any(line.startswith("waiting: ") for line in heard)
        assert request.log.read_text() == "epoch 1\nepoch 2\n"

    async def test_steps_run_side_by_side(self, place: Place, request_for: RequestFor) -> None:
        runtime = place.runtime()
        requests = [request_for(WRITE) for _ in range(6)]
        outcomes = await asyncio.gather(*(runtime.run(request) for request in requests))
        assert all(outcome.ok for outcome in outcomes)


@pytest.fixture(scope="module")
def seen(place: Place) -> dict[str, Any]:
    """What a step sees, with labels lying beside its data at the site."""
    request = make_request(place.home, LOOK)
    labels = request.volumes["data_path"].parent / "labels"
    labels.mkdir()
    (labels / "truth.csv").write_text("case,malignant\n1,1\n")
    outcome = asyncio.run(place.runtime().run(request))
    assert outcome.ok, outcome.message
    found: dict[str, Any] = json.loads(_output(request).read_text())
    return found


class TestSurroundings:
    """One look around from inside a pod, judged from several sides."""

    def test_infer_sees_its_data_and_no_labels(self, seen: dict[str, Any]) -> None:
        assert [path for path in seen["below"] if path.startswith("/in/")] == ["/in/data", "/in/data/cases"]
        assert not any("labels" in path or "truth" in path for path in seen["below"])

    def test_only_outputs_and_scratch_can_be_written(self, seen: dict[str, Any]) -> None:
        assert seen["refused"] == dict.fromkeys(("/in/data/new", "/cube/new", "/new", "/usr/new", "/etc/passwd"), True)
        assert (seen["scratch"], seen["shm"]) == (False, False)
        assert {"/", "/in/data", "/cube"} <= set(seen["read_only"])

    def test_it_is_nobody_in_particular(self, seen: dict[str, Any]) -> None:
        assert seen["user"] not in {0, 65534}
        assert 0 not in {seen["group"], *seen["groups"]}
        assert int(seen["status"]["CapBnd"], 16) == 0
        assert (seen["status"]["NoNewPrivs"], seen["status"]["Seccomp"]) == ("1", "2")

    def test_it_has_no_token_and_knows_no_service(self, seen: dict[str, Any]) -> None:
        assert seen["secrets"] is False
        services = {name for name in seen["environment"] if name.endswith(("_HOST", "_TCP", "_ADDR"))}
        assert services <= {"KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP", "KUBERNETES_PORT_443_TCP_ADDR"}

    def test_the_program_starts_in_its_cube(self, seen: dict[str, Any]) -> None:
        assert seen["folder"] == "/cube"
        assert seen["environment"]["HOME"] == seen["environment"]["TMPDIR"] == SCRATCH


class TestHostPath:
    """Where the site's settings and its namespace allow paths of the node, they are as narrow as claims are."""

    async def test_one_folder_each_and_inputs_cannot_be_written(self, python_image: str) -> None:
        with namespace("hostpath", security="privileged") as own:
            own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
            place = place_in(own, python_image)
            root = place.settings.volumes[0].path
            request = make_request(place.home, LOOK)
            (request.volumes["data_path"].parent / "labels").mkdir()
            runtime = place.runtime(volumes=[{"path": root, "host_path": root}], allow_host_path=True)
            outcome = await runtime.run(request)
            assert outcome.ok, outcome.message
            seen = json.loads(_output(request).read_text())
            (pod,) = own.pods_of(place.job(request))
        assert [path for path in seen["below"] if path.startswith("/in/")] == ["/in/data", "/in/data/cases"]
        assert seen["refused"]["/in/data/new"]
        assert [each["hostPath"]["path"] for each in pod["spec"]["volumes"] if "hostPath" in each] == [str(root)]


class TestMove:
    """An agent that is a pod starts again on another node."""

    @pytest.fixture
    def agent_on(self, monkeypatch: pytest.MonkeyPatch, place: Place) -> Callable[[str], Any]:
        def agent_on(node: str) -> Any:
            monkeypatch.setenv(NODE_VARIABLE, node)
            return place.runtime(hopeless_s=600)

        return agent_on

    @pytest.fixture
    async def node(self, place: Place, request_for: RequestFor) -> str:
        """Where steps can run."""
        request = request_for()
        await place.runtime().run(request)
        [pod] = place.namespace.pods_of(place.job(request))
        return str(pod["spec"]["nodeName"])

    async def _left(self, runtime: Any, request: StepRequest, place: Place, phase: str) -> str:
        """A step that its agent leaves behind when its pod is in that phase; the pod."""
        step = asyncio.create_task(runtime.run(request))

        async def there() -> bool:
            pods = await asyncio.to_thread(place.namespace.pods_of, place.job(request))
            return [pod["status"]["phase"] for pod in pods] == [phase]

        await until(there, f"a pod to be {phase}")
        runtime.leave()
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        [pod] = place.namespace.pods_of(place.job(request))
        return str(pod["metadata"]["uid"])

    async def test_a_step_that_waits_for_the_old_node_goes_to_the_new_one(
        self, place: Place, request_for: RequestFor, agent_on: Callable[[str], Any], node: str
    ) -> None:
        request = request_for(WRITE)
        before = await self._left(agent_on("gone"), request, place, "Pending")
        outcome = await agent_on(node).run(request)
        assert outcome.ok, outcome.message
        [pod] = place.namespace.pods_of(place.job(request))
        assert pod["metadata"]["uid"] != before

    async def test_a_step_that_runs_is_taken_over_where_it_is(
        self, place: Place, request_for: RequestFor, agent_on: Callable[[str], Any], node: str
    ) -> None:
        request = request_for(f"import time; time.sleep(5)\n{WRITE}")
        before = await self._left(agent_on(node), request, place, "Running")
        outcome = await agent_on("another").run(request)
        assert outcome.ok, outcome.message
        [pod] = place.namespace.pods_of(place.job(request))
        assert pod["metadata"]["uid"] == before


class TestImages:
    async def test_an_image_runs_by_its_own_entrypoint_with_the_contracts_command(
        self, place: Place, request_for: RequestFor, registry: Registry, python_image: str
    ) -> None:
        words = "[os.environ['FROM'], os.getcwd(), *sys.argv[1:]]"
        program = f"import sys, os; open('/out/predictions/x', 'w').write(' '.join({words}))"
        image = registry.variant(
            python_image, Entrypoint=["python3", "-c", program], Cmd=["unused"], WorkingDir="/usr", Env=["FROM=image"]
        )
        request = request_for(image=image, run="{command: one two}")
        outcome = await place.runtime().run(request)
        assert outcome.ok, outcome.message
        assert _output(request).read_text() == "image /usr one two"

    async def test_a_root_image_runs_as_an_ordinary_user(
        self, place: Place, request_for: RequestFor, registry: Registry, python_image: str
    ) -> None:
        image = registry.variant(python_image, User="0:0")
        program = "import os; open('/out/predictions/x', 'w').write(str(os.getuid()))"
        request = request_for(image=image, run=json.dumps({"command": ["python3", "-c", program]}))
        outcome = await place.runtime().run(request)
        assert outcome.ok, outcome.message
        assert int(_output(request).read_text()) > 0

    async def test_an_image_may_write_to_a_layer_that_is_thrown_away_where_the_site_allows_it(
        self, place: Place, request_for: RequestFor, python_image: str
    ) -> None:
        program = "open('/tmp/a', 'w'); open('/app/b', 'w')"
        run = json.dumps({"command": ["python3", "-c", f"import os; os.chmod('/app', 0o755)\n{program}"]})
        refused = await place.runtime(writable_images=False).run(request_for(image=python_image, run=run))
        assert "Read-only file system" in refused.message

    async def test_a_tag_is_not_run(self, place: Place, request_for: RequestFor, registry: Registry) -> None:
        with pytest.raises(RuntimeSetupError, match="is not named by digest"):
            await place.runtime().run(request_for(image=f"{registry.host}/python:3.11"))

    async def test_the_next_image_is_pulled_where_the_agent_is(
        self, place: Place, request_for: RequestFor, python_image: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Elsewhere nobody would find it."""
        monkeypatch.setenv(NODE_VARIABLE, "gone")
        pulled = place.runtime(pull_s=3).make_ready(request_for(image=python_image).cube)
        task = asyncio.create_task(pulled)

        async def pod() -> dict[str, Any] | None:
            pods = await asyncio.to_thread(place.namespace.get, "pods", "-l", "assay/task=pull")
            return next(iter(pods["items"]), None)

        found = await until(pod, "the pod that pulls")
        await task
        assert "gone" in json.dumps(found["spec"]["affinity"]["nodeAffinity"])

    async def test_the_next_image_is_pulled_and_not_run(
        self, place: Place, request_for: RequestFor, registry: Registry, python_image: str
    ) -> None:
        image = registry.variant(python_image, Entrypoint=["python3", "-c", "print('never')"])
        request = request_for(image=image)
        await place.runtime().make_ready(request.cube)
        present = place.namespace.get("events", "--field-selector", "reason=Pulled")["items"]
        assert any(image in event["message"] for event in present)
        assert place.namespace.get("jobs", "-l", "assay/task=pull")["items"] == []


class TestOutputs:
    async def test_a_link_out_of_the_output_is_refused_and_not_followed(
        self, place: Place, request_for: RequestFor
    ) -> None:
        secret = place.home / "secret"
        secret.write_text("do not touch")
        request = request_for(f"import os; os.symlink({str(secret)!r}, '/out/predictions/x')")
        assert (await place.runtime().run(request)).ok
        with pytest.raises(StepFailedError, match="links and devices are not accepted"):
            safe_outputs(request.volumes["output_path"])
        assert secret.read_text() == "do not touch"

    async def test_writing_through_a_link_reaches_nothing_of_the_site(
        self, place: Place, request_for: RequestFor
    ) -> None:
        request = request_for(
            """
            import os
            os.symlink('/in/data/cases', '/out/predictions/through')
            try:
                open('/out/predictions/through', 'w').write('mine')
            except OSError as error:
                print(error.strerror)
            """
        )
        outcome = await place.runtime().run(request)
        assert outcome.exit_code == 0, outcome.message
        assert "Read-only file system" in request.log.read_text()
        assert (request.volumes["data_path"] / "cases").read_text() == "three cases"

    async def test_a_link_in_place_of_an_input_does_not_leave_the_site(
        self, place: Place, request_for: RequestFor
    ) -> None:
        """What an earlier step left behind as a link is resolved by the agent: it must lie in a volume."""
        request = request_for(WRITE)
        data = request.volumes["data_path"]
        (data / "cases").unlink()
        data.rmdir()
        data.symlink_to("/etc")
        with pytest.raises(RuntimeSetupError, match="is in none of the site's volumes"):
            await place.runtime().run(request)

    async def test_outputs_belong_to_the_steps_user_and_the_agent_can_move_them(
        self, place: Place, request_for: RequestFor
    ) -> None:
        request = request_for(WRITE)
        await place.runtime().run(request)
        assert _output(request).stat().st_uid == (place.settings.user if os.geteuid() == 0 else os.geteuid())
        _output(request).rename(place.home / f"moved-{request.key}")
