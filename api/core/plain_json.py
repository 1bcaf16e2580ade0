"""Bodies are JSON as RFC 8259 has it: Python's reader would also take NaN, Infinity and numbers too large to be any."""

import json
import math

from fastapi import Request

from api.core.errors import InvalidInputError
from api.core.limits import UPLOADS

_FIX = "Send `float:nan`, `float:inf` or `float:-inf` where a metric or a statistic is not defined; elsewhere a number."


async def require_plain_json(request: Request) -> None:
    """Refuse numbers that JSON cannot carry. What is no JSON at all, the route itself refuses.

    Raises:
        InvalidInputError: names what was found.
    """
    if request.url.path.startswith(UPLOADS):
        return  # streamed, and no JSON
    body = await request.body()
    try:
        json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return


def _refuse(word: str) -> None:
    raise InvalidInputError(f"body: {word!r} is not a number of JSON.", _FIX)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidInputError("body: a number is larger than any that can be kept.", _FIX)
    return number
