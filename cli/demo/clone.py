"""Where things lie in this clone: what the demonstration plays with beside the package."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "cubes" / "breast_fna"
"""The reference benchmark."""
K8S: Final = ROOT / "k8s"
