"""The cluster's API as the runtime needs it: plain JSON through the official client's connection and credentials.

The client's own models are left out on purpose: they cost a second to import, and refuse answers that real clusters give.

ClusterError
 ├─ ClusterAwayError      no answer, or one that says "later": try again
 ├─ NotThereError         404
 ├─ AlreadyThereError     409
 └─ ClusterRefusedError   anything else; carries status and the cluster's own words
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
from kubernetes.aio import client, config

from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.protocol import RuntimeSetupError

_CALL_S: Final = 20.0
_WATCH_S: Final = 45
"""A connection that died in silence is noticed when this is over."""
_RENEW_S: Final = 60.0
"""How old a token may be that a kubeconfig's file holds; a plugin's says by itself how long it lasts."""
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_GONE: Final = 410


class ClusterError(Exception):
    """The base: the message holds what the cluster said."""


class ClusterAwayError(ClusterError):
    """No answer, or one that says "later"."""


class NotThereError(ClusterError):
    """No such object."""


class AlreadyThereError(ClusterError):
    """An object of that name exists."""


class ClusterRefusedError(ClusterError):
    """The cluster does not do it: not allowed, not valid."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Body(Protocol):
    def iter_any(self) -> AsyncIterator[bytes]: ...


class Cluster:
    """One namespace of one cluster, within one event loop.

    Args:
        api: an open client.
        namespace: where steps run.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api, self.namespace = api, namespace

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object or a list of them; `path` as in `batch/v1/jobs/NAME`, within the namespace."""
        return await self._json("GET", path, query)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._json("POST", path, {}, body)

    async def delete(self, path: str, *, grace_s: int | None = None) -> None:
        """Delete an object, and in the background what it owns. That it is gone already is no error."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            await self._json("DELETE", path, {}, body)
        except NotThereError:
            return

    async def watch(self, path: str, *, since: str, **query: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Changes from a resource version on, as (kind of change, object); ends when the cluster ends it.

        Raises:
            ClusterAwayError: the connection broke, or the version is too old: list again.
        """
        asked = {**query, "watch": "true", "resourceVersion": since, "timeoutSeconds": str(_WATCH_S)}
        async with self._open("GET", path, asked, timeout_s=_WATCH_S + _CALL_S) as body:
            async for line in _lines(body):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ClusterAwayError(str(event["object"].get("message", "the watch ended")))
                yield event["type"], event["object"]

    async def stream(self, path: str, **query: str) -> AsyncIterator[bytes]:
        """The bytes of an answer as they come."""
        async with self._open("GET", path, query, timeout_s=30 * 86_400) as body:
            try:
                async for piece in body.iter_any():
                    yield piece
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise ClusterAwayError(f"{type(error).__name__}: {error}") from error

    async def _json(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        async with self._open(method, path, query, body, timeout_s=_CALL_S) as content:
            found: dict[str, Any] = json.loads(b"".join([piece async for piece in content.iter_any()]))
            return found

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float,
    ) -> AsyncIterator[_Body]:
        prepared = await self._api.param_serialize(
            method,
            _address(path, self.namespace),
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(*prepared, _request_timeout=timeout_s, _preload_content=False)
            async with answer.response as response:
                if response.status >= 400:  # noqa: PLR2004 - where HTTP's errors begin
                    raise _error(response.status, await response.text())
                yield response.content
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterAwayError(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def connected(wanted: KubernetesSettings) -> AsyncIterator[Cluster]:
    """The cluster that this process belongs to, or the one that the kubeconfig names.

    Raises:
        RuntimeSetupError: neither is there.
    """
    settings: Any = client.Configuration()
    try:
        if wanted.kubeconfig is None and wanted.context is None and _inside():
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            # The proxy in the environment is for the way out to the registry.
            settings.client_session_kwargs = {"trust_env": False}
        else:
            file = str(wanted.kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
            loader = await config.load_kube_config(file, wanted.context, client_configuration=settings)  # type: ignore[no-untyped-call]
            settings.refresh_api_key_hook = _renewal(loader, file, wanted.context)
    except (config.ConfigException, OSError) as error:
        raise RuntimeSetupError(
            f"no Kubernetes cluster is known ({error}): set KUBECONFIG, or run the agent inside the cluster"
        ) from error
    async with client.ApiClient(settings) as api:
        yield Cluster(api, wanted.namespace)


def _renewal(loader: Any, file: str, context: str | None) -> Callable[[Any], Awaitable[None]]:
    """A token of a plugin or a file ends long before a step may: it is asked for anew, as kubectl does."""
    loaded = time.monotonic()

    async def renew(settings: Any) -> None:
        nonlocal loader, loaded
        if "exec" in (loader._user or ()):  # noqa: SLF001 - its public face asks once and for all
            await loader.load_from_exec_plugin()  # which asks the plugin when its last word has run out
            loader._set_config(settings)  # noqa: SLF001
        elif time.monotonic() - loaded > _RENEW_S:
            loaded, settings.refresh_api_key_hook = time.monotonic(), None
            loader = await config.load_kube_config(file, context, client_configuration=settings)  # type: ignore[no-untyped-call]
            settings.refresh_api_key_hook = renew

    return renew


def _inside() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


def _address(path: str, namespace: str) -> str:
    """`batch/v1/jobs/x` is /apis/batch/v1/namespaces/NAMESPACE/jobs/x; `v1/...` is the core API; `/...` is as it is."""
    if path.startswith("/"):
        return path
    parts = path.split("/")
    group = 1 if parts[0] == "v1" else 2
    root = "/api" if group == 1 else "/apis"
    return "/".join([root, *parts[:group], "namespaces", namespace, *parts[group:]])


def _error(status: int, text: str) -> ClusterError:
    try:
        said = str(json.loads(text).get("message", text))
    except (ValueError, AttributeError):
        said = text
    said = said[:2000] or f"HTTP {status}"
    if status in _LATER or status == _GONE:
        return ClusterAwayError(said)
    if status == 404:  # noqa: PLR2004
        return NotThereError(said)
    if status == 409:  # noqa: PLR2004
        return AlreadyThereError(said)
    return ClusterRefusedError(status, said)


async def _lines(body: _Body) -> AsyncIterator[bytes]:
    """Whole lines of a body, however long."""
    rest = b""
    try:
        async for piece in body.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield line
    except (aiohttp.ClientError, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
        raise ClusterAwayError(f"{type(error).__name__}: {error}") from error
