"""What is particular about probing a cluster: pods have a network card, the API server is near, policies may be ignored."""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from agents.runtimes.probe import findings_of, probe_request
from agents.runtimes.protocol import StepOutcome, StepRequest

_OF_THE_NODE: Final = {"ipc": "ipc:[4026531839]", "uts": "uts:[4026531838]", "pid": "pid:[4026531836]"}
"""The kernel's numbers for the namespaces that a machine starts with; the same on every machine."""
_NOT_ASKED: Final = (
    "no_hypervisor_sockets",  # RuntimeDefault of containerd before 2.0 lets them be made; whether one answers is asked
    "no_tracing",  # RuntimeDefault lets a program trace its own children; there is nobody else in the pod
    "no_signal_to_the_agent",  # the agent is in another pod, where process numbers mean something else
)


class ClusterGround:
    """Judges `kubernetes`: the probe as a step, and beside it a control.

    Args:
        run_control: runs a step in a pod that no policy selects and no class isolates.
    """

    def __init__(self, run_control: Callable[[StepRequest], Awaitable[StepOutcome]]) -> None:
        self._run_control = run_control

    def told(self) -> Mapping[str, Any]:
        return {
            "agent": 0,
            "namespaces": _OF_THE_NODE,
            "interfaces": True,
            "cluster": True,
            "not_asked": _NOT_ASKED,
        }

    async def controls(self, request: StepRequest) -> dict[str, bool]:
        """From a pod like the probe's but for its label, the cluster's API answers: so a refusal means something."""
        with tempfile.TemporaryDirectory(prefix="control-", dir=request.log.parent) as folder:
            control = probe_request(Path(folder), {"control": True, "word": "control"})
            outcome = await self._run_control(control)
            if not outcome.ok:
                structlog.get_logger().warning("the probe's control did not end well", reason=outcome.message)
            return {"control_cluster_api_is_reachable": findings_of(control).get("reaches_the_cluster_api", False)}
