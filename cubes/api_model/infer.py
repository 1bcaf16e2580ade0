"""Ask an endpoint about each case and write its answers to `predictions.json`: case name to answer.

Parameters, as flat YAML: `scheme` (`chat`, as OpenAI-compatible endpoints take it, or `json`), `model` and `prompt` for
`chat`, `field` (what of a `json` answer is the prediction). Standard library alone: the address is a socket.
"""

import base64
import http.client
import json
import mimetypes
import socket
import sys
from pathlib import Path
from typing import Any

VOLUMES = Path("/mlcommons/volumes")
TIMEOUT_S = 3600


class ThroughSocket(http.client.HTTPConnection):
    """HTTP over the socket that the runtime put into the `endpoint` volume."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(VOLUMES / "endpoint" / "socket"))


def ask(request: dict[str, Any]) -> dict[str, Any]:
    connection = ThroughSocket("endpoint")
    try:
        connection.request("POST", "/", json.dumps(request).encode(), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != http.HTTPStatus.OK or not isinstance(found, dict):
            raise RuntimeError(found.get("error", found) if isinstance(found, dict) else found)
        return found
    finally:
        connection.close()


def parameters() -> dict[str, str]:
    """`name: value` lines; values may be quoted as in JSON."""
    found = {}
    for line in (VOLUMES / "parameters.yaml").read_text(encoding="utf-8").splitlines():
        name, colon, value = line.partition(":")
        if colon and not name.startswith("#"):
            text = value.strip()
            found[name.strip()] = text[1:-1] if text[:1] == text[-1:] and text[:1] in {"'", '"'} else text
    return found


def chat(case: Path, wanted: dict[str, str]) -> str:
    kind = mimetypes.guess_type(case.name)[0] or "text/plain"
    if kind.startswith("image/"):
        data = base64.b64encode(case.read_bytes()).decode()
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
    else:
        part = {"type": "text", "text": case.read_text(encoding="utf-8")}
    content = [{"type": "text", "text": wanted.get("prompt", "")}, part]
    request = {"model": wanted["model"], "temperature": 0, "messages": [{"role": "user", "content": content}]}
    return str(ask(request)["choices"][0]["message"]["content"])


def plain(case: Path, wanted: dict[str, str]) -> Any:
    content = base64.b64encode(case.read_bytes()).decode()
    return ask({"case": case.name, "content": content})[wanted.get("field", "prediction")]


def main() -> None:
    wanted = parameters()
    scheme = chat if wanted.get("scheme", "chat") == "chat" else plain
    predictions = {}
    for case in sorted(path for path in (VOLUMES / "data").rglob("*") if path.is_file()):
        name = case.relative_to(VOLUMES / "data").as_posix()
        try:
            predictions[name] = scheme(case, wanted)
        except (RuntimeError, KeyError, IndexError, TypeError, ValueError) as error:
            sys.exit(f"case {name!r} has no answer: {error!r}")
    text = json.dumps(predictions, indent=1, sort_keys=True)
    (VOLUMES / "predictions" / "predictions.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
