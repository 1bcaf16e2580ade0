"""`assay exit-codes`."""

from cli.errors import MEANINGS
from cli.options import Json
from cli.output import Column, emit_list


def exit_codes(*, as_json: Json = False) -> None:
    """What each exit code means."""
    codes = [{"code": int(code), "name": code.name.lower(), "meaning": words} for code, words in MEANINGS.items()]
    columns = (Column("code", "code"), Column("meaning", "meaning"))
    emit_list(codes, columns, as_json=as_json, empty="")
