"""Only one module of a site talks to the registry, and only what is on a closed list and was allowed leaves."""

import ast
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError
from sqlmodel import select

from agents.store.tables import Decision, Gate, OutboxItem, OutboxState
from api.schemas.border import (
    MAX_PAYLOAD_BYTES,
    NEEDS_DECISION,
    PAYLOADS,
    ApprovedResult,
    ExecutionEvent,
    PayloadKind,
    ProbeOutcome,
    SiteDecision,
    parse_payload,
)
from cubes.digests import canonical, digest_bytes
from tests.hospital import Hospital

ROOT: Final = Path(__file__).parents[2]
BORDER: Final = "agents/border.py"
REGISTRY_S_OWN: Final = {"flows/dispatcher.py", "flows/review.py"}
"""Flows that run beside the registry, with its service token; a site never loads them."""
CONNECTING: Final = {
    "socket", "http.client", "urllib.request", "httpx", "httpx2", "requests", "aiohttp", "websockets", "anyio", "docker",
    "kubernetes", "psycopg", "asyncpg", "smtplib", "ftplib", "xmlrpc", "telnetlib", "authlib", "api.client.transport",
}  # fmt: skip
"""What a module must import to open a connection by itself."""
MAY_CONNECT: Final = {
    "agents/prefect_api.py": "the site's own Prefect server",
    "agents/runtimes/probe.py": "its own listener: the positive control of the deny probe",
    "agents/runtimes/probe_cube/probe.py": "everything that it must not reach; runs inside a step",
    "agents/runtimes/docker/engine.py": "the site's own Docker daemon",
    "agents/runtimes/kubernetes/cluster.py": "the site's own cluster",
    "agents/images/registry.py": "image registries, for what was approved by digest",
    "agents/downloads/hub.py": "what a hub says of a file, at the site's own endpoint alone",
    "agents/downloads/schemes.py": "where additional files lie, for what was approved by digest",
    "agents/endpoints/calls.py": "model servers that the operator named in site.toml",
}


def _modules(*folders: str) -> Mapping[str, ast.Module]:
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): _parsed(path) for path in paths}


def _parsed(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    try:
        return ast.parse(text)
    except SystemError:  # another thread was parsing, too: https://github.com/python/cpython/issues/106905
        return ast.parse(text)


def _imports(module: ast.Module) -> set[str]:
    """Dotted names, those inside functions included; what a `from` import names counts as a module too."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _is_able(module: ast.Module) -> bool:
    found = {name for name in _imports(module) if not name.startswith("docker.types")}  # shapes of requests
    return any(name == each or name.startswith(each + ".") for name in found for each in CONNECTING)


def _attributes(module: ast.Module) -> set[str]:
    return {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}


class TestSource:
    """The whole source of agents and flows, read as a tree."""

    def test_these_modules_could_open_a_connection_and_no_other(self) -> None:
        able = {name for name, module in _modules("agents").items() if _is_able(module)}
        assert able == set(MAY_CONNECT)

    def test_only_the_border_holds_a_client_of_the_registry(self) -> None:
        holders = {n for n, m in _modules("agents", "flows").items() if "api.client.RegistryClient" in _imports(m)}
        assert holders == {BORDER} | REGISTRY_S_OWN

    def test_a_site_never_loads_what_runs_beside_the_registry(self) -> None:
        names = {name.removesuffix(".py").replace("/", ".") for name in REGISTRY_S_OWN}
        users = {name for name, module in _modules("agents", "flows").items() if _imports(module) & names}
        assert users == {"flows/deployments.py"}  # inside the function that only the registry's process calls

    def test_only_the_border_reads_the_registry_s_address_and_token(self) -> None:
        readers = {n for n, m in _modules("agents", "flows").items() if {"registry_url", "token"} <= _attributes(m)}
        assert readers == {BORDER}
        assert {n for n, m in _modules("agents", "flows").items() if "registry_url" in _attributes(m)} == {BORDER}

    def test_nothing_is_imported_by_a_name_that_is_made_up_at_run_time(self) -> None:
        """What the tests above could not see."""
        makers = {"importlib", "importlib.import_module", "importlib.util", "runpy", "pkgutil"}
        users = {name for name, module in _modules("agents", "flows").items() if _imports(module) & makers}
        # Where PostgreSQL's programs lie; and whose server this process is.
        assert users == {"flows/server/__main__.py", "flows/server/postgres.py"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.security.whole_job", str(tmp_path_factory.mktemp("job"))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return dict(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.slow
class TestWholeJob:
    """Prepare, register, evaluate, release, send: under an audit hook that no code can take off."""

    def test_the_job_was_a_whole_one(self, job: dict[str, Any]) -> None:
        assert set(job["taken"]) == {"dataset", "heartbeat", "execution_event", "result"}
        # The other model tries to reach the network, and fails.
        assert job["outcome"] == {"ran": 2, "reused": 0, "withheld": 0, "failed": ["model-2"]}

    def test_every_connection_to_the_registry_is_the_border_s(self, job: dict[str, Any]) -> None:
        port = job["registry"].rsplit(":", 1)[1]
        there = [entry for entry in job["seen"] if entry["address"] == f"('127.0.0.1', {port})"]
        assert there
        assert all(BORDER in entry["files"] for entry in there)

    def test_there_is_no_connection_elsewhere_but_the_probe_s_own(self, job: dict[str, Any]) -> None:
        sockets = [entry for entry in job["seen"] if entry["event"].startswith("socket.")]
        others = [entry for entry in sockets if BORDER not in entry["files"]]
        assert {entry["files"][0] for entry in others} <= {"agents/runtimes/probe.py"}

    def test_programs_are_started_by_the_runtime_alone(self, job: dict[str, Any]) -> None:
        started = [entry for entry in job["seen"] if entry["event"] == "subprocess.Popen"]
        assert {entry["files"][0] for entry in started} <= {
            "agents/runtimes/process/supervisor.py",
            "agents/runtimes/process/seccomp.py",
        }

    def test_the_hook_would_see_another(self, job: dict[str, Any]) -> None:
        rogue = job["rogue"]
        assert rogue["address"].endswith(f"{job['registry'].rsplit(':', 1)[1]})")
        assert BORDER not in rogue["files"]


def _payloads(here: Hospital) -> dict[PayloadKind, dict[str, Any]]:
    """One real payload of each kind, as it lies in the outbox."""
    with here.site.store.read() as session:
        found = {item.kind: json.loads(item.body) for item in session.exec(select(OutboxItem))}
    probe = here.site.last_probe().model_dump(mode="json")
    found[PayloadKind.HEARTBEAT] = {
        "sent_at": probe["probed_at"],
        "agent_version": "1",
        "running": 0,
        "waiting_gates": 0,
        "probe": probe,
    }
    found[PayloadKind.PREPARATION] = {
        "benchmark_id": 1,
        "name": "d1",
        "fractions": {"-1": 0.25, "2": 0.75},
        "measured_at": probe["probed_at"],
    }
    return found


class TestClosedList:
    def test_it_has_these_kinds(self) -> None:
        assert {kind.value for kind in PAYLOADS} == {"heartbeat", "preparation", "dataset", "execution_event", "result"}

    @pytest.mark.parametrize("kind", PayloadKind)
    def test_an_extra_key_is_refused_at_every_depth(self, released: Hospital, kind: PayloadKind) -> None:
        body = _payloads(released)[kind]
        assert parse_payload(kind, body)
        for where in ([], *([key] for key, value in body.items() if isinstance(value, dict) and key in _MODELS)):
            changed = json.loads(json.dumps(body))
            inner = changed
            for key in where:
                inner = inner[key]
            inner["patient"] = "Jane Doe"
            with pytest.raises(ValidationError, match="patient"):
                parse_payload(kind, changed)

    def test_an_event_has_no_room_for_log_text(self) -> None:
        """Every field is a number, a moment, a digest or a word of a fixed list."""
        schema = ExecutionEvent.model_json_schema()
        assert _free_texts(schema, schema) == set()

    def test_free_text_of_the_others_is_for_people_s_own_words(self) -> None:
        """By equality, so that a new field with room for text is noticed."""
        free = {
            kind.value: _free_texts(shape.model_json_schema(), shape.model_json_schema())
            for kind, shape in PAYLOADS.items()
        }
        assert free == {
            "heartbeat": set(),
            "preparation": set(),
            "execution_event": set(),
            "dataset": {"title", "person", "reason", "statistics"},
            "result": {"person", "reason"},
        }

    @pytest.mark.parametrize("kind", [PayloadKind.DATASET, PayloadKind.RESULT])
    def test_sizes_are_limited(self, released: Hospital, kind: PayloadKind) -> None:
        body = _payloads(released)[kind]
        field = "statistics" if kind == PayloadKind.DATASET else "metrics"
        with pytest.raises(ValidationError):
            parse_payload(kind, {**body, field: {f"m{number}": 0.5 for number in range(1_000)}})


_MODELS: Final = {"probe", "decision"}


def _free_texts(schema: Mapping[str, Any], whole: Mapping[str, Any], name: str = "") -> set[str]:
    """Fields that could hold any text: strings that a name and an age fit into, and open mappings."""
    if "$ref" in schema:
        return _free_texts(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole, name)
    found: set[str] = set() if set(schema) - {"title", "description"} else {name}
    if schema.get("type") == "string" and not {"format", "enum", "const"} & set(schema):
        found |= {name} if re.search(schema.get("pattern", ""), "Jane Doe, aged 97") else set()
    if schema.get("type") == "object" and "properties" not in schema and "patternProperties" not in schema:
        values = schema.get("additionalProperties", True)
        found |= {name} if values is True or not values else _free_texts(values, whole, name)
    for key, item in schema.get("properties", {}).items():
        found |= _free_texts(item, whole, key)
    for item in [*schema.get("anyOf", []), *schema.get("allOf", [])]:
        found |= _free_texts(item, whole, name)
    return found


Change = Callable[[dict[str, Any]], object]


ANOTHER_RESULT: Final[dict[str, Any]] = {
    **dict.fromkeys(("execution", "score", "model_digest", "metrics_digest", "dataset_root"), digest_bytes(b"another")),
    **dict.fromkeys(("benchmark_id", "model_id", "dataset_id", "cases"), 77),
    **dict.fromkeys(("started_at", "finished_at", "probe.probed_at"), "2020-01-01T00:00:00Z"),
    "metrics": {"auroc": 0.999},
    "probe.runtime": "another",
    "probe.isolation": "not_isolated",
    "probe.checks": {"made_up": True},
    "probe.only_host": "elsewhere.example",
}
"""Other values for each field of a result that the site made."""
ANOTHER_DECISION: Final[dict[str, Any]] = {
    "decision.gate": "run_models",
    "decision.verdict": "reject",
    "decision.person": "Somebody Else <else@north.example>",
    "decision.decided_at": "2020-01-01T00:00:00Z",
    "decision.digest": digest_bytes(b"another"),
    "decision.reason": "never said",
}
_INNER: Final = {"probe": list(ProbeOutcome.model_fields), "decision": list(SiteDecision.model_fields)}


def _set(body: dict[str, Any], field: str, value: object) -> None:
    *above, name = field.split(".")
    for key in above:
        body = body[key]
    body[name] = value


class TestOutbox:
    """Somebody writes into the outbox with other tools than ours: it is looked at once more before anything leaves."""

    def _smuggle(
        self, here: Hospital, kind: PayloadKind, *, gate: str | None, change: Change = lambda _body: None, **row: Any
    ) -> tuple[OutboxItem, bool]:
        """Insert a row by hand; the item as it ended, and whether the registry got it."""
        with here.site.store.read() as session:
            original = session.exec(
                select(OutboxItem).where(OutboxItem.kind == kind).order_by(OutboxItem.id)  # type: ignore[arg-type]  # a column
            ).first()
            decision = session.exec(select(Decision.id).join(Gate).where(Gate.name == gate)).first()
            number = len(session.exec(select(OutboxItem)).all())
        assert original is not None
        document = json.loads(original.body)
        change(document)
        body = canonical(document)
        key = f"smuggled-{number}"
        values = {"body": body, "size": len(body), "sha256": digest_bytes(body), "decision_id": decision, **row}
        with closing(sqlite3.connect(here.site.store.path)) as raw, raw:
            raw.execute(
                "INSERT INTO outbox (kind, subject, body, size, sha256, idempotency_key, decision_id, state, attempts,"
                " not_before, last_error, created_at) VALUES"
                " (:kind, 'smuggled', :body, :size, :sha256, :key, :decision_id, 'QUEUED', 0, '2020-01-01', '', '2020-01-01')",
                {"kind": kind.name, "key": key, **values},
            )
        here.site.border.flush()
        with here.site.store.read() as session:
            item = session.exec(select(OutboxItem).where(OutboxItem.idempotency_key == key)).one()
        return item, key in {taken.key for taken in here.registry.taken}

    @pytest.mark.parametrize(
        ("kind", "gate"), [(PayloadKind.RESULT, "release_results"), (PayloadKind.DATASET, "register_dataset")]
    )
    def test_what_was_shown_and_approved_leaves(self, released: Hospital, kind: PayloadKind, gate: str) -> None:
        """The control: the same row, as it should be."""
        item, arrived = self._smuggle(released, kind, gate=gate)
        assert (item.state, arrived) == (OutboxState.SENT, True)

    @pytest.mark.parametrize("kind", [PayloadKind.RESULT, PayloadKind.DATASET])
    def test_what_nobody_decided_stays(self, released: Hospital, kind: PayloadKind) -> None:
        self._stays(*self._smuggle(released, kind, gate=None), why="no person decided")

    @pytest.mark.parametrize(
        ("kind", "gate"),
        [
            (PayloadKind.RESULT, "register_dataset"),
            (PayloadKind.RESULT, "run_models"),
            (PayloadKind.DATASET, "release_results"),
        ],
    )
    def test_a_decision_about_something_else_does_not_count(
        self, released: Hospital, kind: PayloadKind, gate: str
    ) -> None:
        self._stays(*self._smuggle(released, kind, gate=gate), why="about something else")

    @pytest.mark.parametrize(("field", "value"), ANOTHER_RESULT.items())
    def test_a_result_that_is_not_the_one_that_was_shown_stays(
        self, released: Hospital, field: str, value: object
    ) -> None:
        found = self._smuggle(
            released, PayloadKind.RESULT, gate="release_results", change=lambda body: _set(body, field, value)
        )
        self._stays(*found, why="not what the person was shown")

    @pytest.mark.parametrize(
        ("kind", "gate"), [(PayloadKind.RESULT, "release_results"), (PayloadKind.DATASET, "register_dataset")]
    )
    @pytest.mark.parametrize(("field", "value"), ANOTHER_DECISION.items())
    def test_words_that_the_person_did_not_say_stay(
        self, released: Hospital, kind: PayloadKind, gate: str, field: str, value: object
    ) -> None:
        found = self._smuggle(released, kind, gate=gate, change=lambda body: _set(body, field, value))
        self._stays(*found, why="not the one that was made")

    def test_each_field_of_a_result_is_changed_once(self) -> None:
        """So that a new field is noticed: what leaves is shown, or said by the person."""
        assert set(ANOTHER_RESULT) | set(ANOTHER_DECISION) == {
            f"{name}.{inner}" if inner else name
            for name in ApprovedResult.model_fields
            for inner in _INNER.get(name, [""])
        }

    def test_a_result_that_the_person_left_out_stays(self, released: Hospital) -> None:
        with released.site.store.read() as session:
            gate = session.exec(select(Gate).where(Gate.name == "release_results")).one()
        left_out = next(item for item in gate.shown["items"] if item["item"] == "2")
        taken = {key: value for key, value in left_out.items() if key in ApprovedResult.model_fields and key != "probe"}
        found = self._smuggle(
            released, PayloadKind.RESULT, gate="release_results", change=lambda body: body.update(taken)
        )
        self._stays(*found, why="left it out")

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: body["statistics"].update(oldest="97 years"),
            lambda body: body.update(labels_root=digest_bytes(b"another")),
            lambda body: body.update(title="Jane Doe"),
            lambda body: body.update(benchmark_id=2),
        ],
    )
    def test_a_registration_that_is_not_the_one_that_was_shown_stays(self, released: Hospital, change: Change) -> None:
        found = self._smuggle(released, PayloadKind.DATASET, gate="register_dataset", change=change)
        self._stays(*found, why="not what the person was shown")

    def test_bytes_that_are_not_those_that_were_queued_stay(self, released: Hospital) -> None:
        found = self._smuggle(released, PayloadKind.RESULT, gate="release_results", sha256=digest_bytes(b""))
        self._stays(*found, why="not those that were queued")

    def test_an_event_with_a_key_more_stays(self, released: Hospital) -> None:
        found = self._smuggle(
            released, PayloadKind.EXECUTION_EVENT, gate=None, change=lambda body: body.update(log="Jane Doe")
        )
        self._stays(*found, why="not on the list")

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"Jane Doe", b"\xff", b'{"a": NaN}'])
    def test_what_is_no_payload_stays(self, released: Hospital, body: bytes) -> None:
        found = self._smuggle(released, PayloadKind.EXECUTION_EVENT, gate=None, body=body, sha256=digest_bytes(body))
        self._stays(*found, why="not on the list")

    def test_what_is_too_large_stays(self, released: Hospital) -> None:
        body = b" " * (MAX_PAYLOAD_BYTES + 1)
        found = self._smuggle(released, PayloadKind.EXECUTION_EVENT, gate=None, body=body, sha256=digest_bytes(body))
        self._stays(*found, why="more than")

    def _stays(self, item: OutboxItem, arrived: object, *, why: str) -> None:
        assert item.state == OutboxState.REFUSED
        assert not arrived
        assert "does not leave" in item.last_error
        assert why in item.last_error


def test_what_needs_a_decision_carries_it() -> None:
    assert {kind for kind, shape in PAYLOADS.items() if "decision" in shape.model_fields} == set(NEEDS_DECISION)
