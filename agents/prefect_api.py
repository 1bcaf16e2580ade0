"""What a site's agent asks of its Prefect server, over HTTP: runs of named deployments, their states, waking, cancelling.

Prefect itself is never imported here: the agent knows deployments by name, and its command line starts in no time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2
import structlog

from agents.errors import AgentError
from api.client.trust import trust_for

MISSING: Final = "MISSING"
"""The state type of a flow run that the server does not know (any more)."""
_NOT_FOUND: Final = 404
_ACCEPTED: Final = "ACCEPT"
_PAGE: Final = 200


class PrefectError(AgentError):
    """The Prefect server refused, did not answer, or answered something else than expected."""


class PrefectApi:
    """A Prefect server's API.

    Args:
        url: ends in `/api`.
        headers: sent with each request; who we are, where a sign-in layer stands in front.
        timeout_s: for one request.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 15.0) -> None:
        self.url = url.rstrip("/")
        # Shorter than the five seconds after which the server closes a connection: never one that is being closed.
        limits = httpx2.Limits(keepalive_expiry=2)
        self._client = httpx2.Client(
            headers=dict(headers or {}), timeout=timeout_s, limits=limits, verify=trust_for(url), trust_env=False
        )
        self._log = structlog.get_logger().bind(api="prefect")

    def close(self) -> None:
        self._client.close()

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self._client.get(f"{self.url}/health").is_success
        except httpx2.HTTPError:
            return False

    def create_flow_run(
        self,
        deployment: str,
        parameters: Mapping[str, Any],
        *,
        idempotency_key: str,
        name: str | None = None,
        tags: Sequence[str] = (),
    ) -> str:
        """A run of a deployment; the same key again is the same run.

        Args:
            deployment: `<flow>/<deployment>`.
            parameters: identifiers alone; they are kept by the server for ever.
            idempotency_key: names the reason for the run.
            name: for people.
            tags: for people.

        Returns:
            The flow run's identifier.

        Raises:
            PrefectError: no such deployment, or no answer.
        """
        found = self._request("GET", f"/deployments/name/{deployment}")
        if found is None:
            raise PrefectError(f"Prefect has no deployment {deployment!r}: start the runner, which registers it")
        body = {
            "parameters": dict(parameters),
            "idempotency_key": idempotency_key,
            "name": name,
            "tags": list(tags),
        }
        made = self._request("POST", f"/deployments/{found['id']}/create_flow_run", body)
        if made is None:
            raise PrefectError(
                f"Prefect lost deployment {deployment!r} while it was asked for a run: it is tried again"
            )
        return str(made["id"])

    def state(self, flow_run_id: str) -> tuple[str, str]:
        """The type and the name of a run's state; (`MISSING`, `Missing`) when the server does not know the run.

        Raises:
            PrefectError: no answer.
        """
        found = self._request("GET", f"/flow_runs/{flow_run_id}")
        if found is None:
            return MISSING, "Missing"
        state = found.get("state") or {"type": "PENDING", "name": "Pending"}
        return str(state["type"]), str(state["name"])

    def resting(self, flows: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """All runs of some flows that are suspended: their identifiers and parameters.

        Raises:
            PrefectError: no answer.
        """
        wanted = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}, "flows": {"name": {"any_": list(flows)}}}
        found: list[tuple[str, dict[str, Any]]] = []
        while True:
            body = {**wanted, "sort": "ID_DESC", "limit": _PAGE, "offset": len(found)}
            page = self._ask("POST", "/flow_runs/filter", body) or []
            found += [(str(run["id"]), dict(run["parameters"])) for run in page]
            if len(page) < _PAGE:
                return found

    def resume(self, flow_run_id: str, run_input: Mapping[str, Any]) -> bool:
        """Wake a suspended run.

        A server that refuses still answers with HTTP 200: what counts is the status in its answer. A run that came to
        rest this very moment may have no form yet, which is such a refusal: ask again a little later.

        Returns:
            Whether the run was woken.

        Raises:
            PrefectError: no answer.
        """
        answer = self._request("POST", f"/flow_runs/{flow_run_id}/resume", {"run_input": dict(run_input)})
        if answer is not None and answer["status"] == _ACCEPTED:
            return True
        details = (answer or {}).get("details") or {}
        self._log.debug("the run was not woken", flow_run=flow_run_id, reason=details.get("reason", "no such run"))
        return False

    def cancel(self, flow_run_id: str) -> bool:
        """Ask for a run's end; a suspended one ends at once.

        Returns:
            Whether it is ending or has ended as cancelled.

        Raises:
            PrefectError: no answer.
        """
        wanted = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        if self._request("POST", f"/flow_runs/{flow_run_id}/set_state", wanted) is None:
            return False
        return self.state(flow_run_id)[0] in {"CANCELLING", "CANCELLED"}

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        answer = self._ask(method, path, body)
        return None if answer is None else dict(answer)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer; None for what the server does not know."""
        try:
            response = self._client.request(method, self.url + path, json=body)
            if response.status_code == _NOT_FOUND:
                return None
            response.raise_for_status()
            return response.json()
        except httpx2.HTTPStatusError as error:
            text = error.response.text[:500]
            raise PrefectError(f"Prefect refused {method} {path!r} ({error.response.status_code}): {text}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise PrefectError(
                f"the Prefect server at {self.url!r} does not answer ({type(error).__name__}): is the agent running?"
            ) from error
