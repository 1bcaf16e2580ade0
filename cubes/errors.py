"""What can be wrong with a cube, as one tree.

CubeError
 ├─ ContractError   its `container_config.yaml`
 ├─ PackError       its pack: an archive or a folder to be packed
 └─ ReportError     what it wrote: metrics or statistics
"""


class CubeError(Exception):
    """The base of everything that this package raises on purpose."""


class ContractError(CubeError):
    """A contract that cannot be used; says where, what, and how to put it right."""

    def __init__(self, source: str, where: str, problem: str, fix: str) -> None:
        super().__init__(f"{source}, {where}: {problem}. {fix}")
        self.source, self.where, self.problem, self.fix = source, where, problem, fix


class PackError(CubeError):
    """A folder or an archive that is not packed or unpacked."""


class ReportError(CubeError):
    """A report of a cube that cannot be read, or does not say what it must."""
