"""What is inside a pack that somebody uploaded: its contract, read by the same rules as at a site."""

import tempfile
from pathlib import Path
from typing import Final

from api.core.errors import InvalidInputError
from cubes.contract import CONTRACT_FILES, Contract, load_contract
from cubes.errors import ContractError, PackError
from cubes.packing import UnpackLimits, unpack

_LIMITS: Final = UnpackLimits(files=20_000, bytes=20 << 30)


def contract_in(pack: Path) -> Contract:
    """The contract of a packed cube; of all other files only the names are looked at.

    Raises:
        InvalidInputError: the pack or its contract cannot be used; says what they say.
    """
    with tempfile.TemporaryDirectory(prefix="assay-pack-") as scratch:
        folder = Path(scratch) / "cube"
        try:
            unpack(pack, folder, _LIMITS, contents=CONTRACT_FILES)
            contract = load_contract(folder)
            contract.kind()
        except (ContractError, PackError) as error:
            # The message names a file by where it lay here.
            said = str(error).replace(f"{folder}/", "").replace(str(folder), "the pack").replace(pack.name, "the pack")
            raise InvalidInputError(f"the pack cannot be used: {said}", "Correct it, pack it and upload it.") from None
    return contract
