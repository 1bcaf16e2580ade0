"""What a gate shows, in Markdown, for the people who look at it in Prefect's pages."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cubes.digests import short

_LONGEST = 60_000
_MARKDOWN = re.compile(r"[\\`*_\[\]()#!|~]")


def describe_registration(shown: Mapping[str, Any]) -> str:
    """The statistics of a dataset that would be registered."""
    dataset, benchmark = shown["dataset"], shown["benchmark"]
    lines = [
        f"## Register dataset {plain(dataset['name'])}?",
        f"{dataset['cases']} cases for benchmark **{plain(benchmark['title'])}**; sanity check {shown['sanity_check']}.",
        "",
        *_table(("statistic", "value"), _flat(shown["statistics"])),
        "",
        *_table(("what", "digest"), [*shown["roots"].items(), ("preparator", shown["preparator"]["pack_digest"])]),
    ]
    return _whole(lines)


def describe_cases(shown: Mapping[str, Any]) -> str:
    """The cases of a staged preparation that wait for people."""
    dataset = shown["dataset"]
    lines = [
        f"## Go on with the preparation of {plain(dataset['name'])}?",
        f"{shown['open']} cases wait for somebody: see `assay dataset cases list {plain(dataset['name'])}`.",
        "Approve once they are dealt with; the preparator then goes on. Rejecting ends the preparation.",
        "",
        *_table(("status", "cases"), [(name, str(count)) for name, count in shown["counts"].items()]),
        "",
        *_table(("case", "status", "comment"), shown["cases"]),
    ]
    return _whole(lines)


def describe_evaluation(shown: Mapping[str, Any]) -> str:
    """The models that would run."""
    rows = [
        (
            item["model"],
            item["organization"],
            str(item["priority"]),
            short(item["cube"]["pack_digest"]),
            _vulnerabilities(item["cube"]),
        )
        for item in shown["items"]
    ]
    lines = [
        f"## Run these models on dataset {plain(shown['dataset']['name'])}?",
        f"Benchmark **{plain(shown['benchmark']['title'])}**, dataset root `{shown['dataset']['root']}`.",
        "",
        *_table(("model", "organization", "priority", "cube", "vulnerabilities, as its owner reports"), rows),
        *_asking(shown["items"]),
    ]
    return _whole(lines)


def _asking(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Models that are not here: what they are given leaves the hospital for the host named, and for no other."""
    rows = [(item["model"], ", ".join(item["asks"])) for item in items if "asks" in item]
    head = ["", "**These send what they are given to somebody else:**", ""]
    return [*head, *_table(("model", "host"), rows)] if rows else []


def describe_release(shown: Mapping[str, Any]) -> str:
    """The results that would be sent."""
    names = sorted({name for item in shown["items"] for name in item["metrics"]})
    benchmarks = sorted({item["benchmark"]["name"] for item in shown["items"]})
    rows = [
        (
            item["item"],
            item["benchmark"]["name"],
            item["model"],
            item["dataset"],
            str(item["cases"]),
            *(_number(item["metrics"].get(n)) for n in names),
        )
        for item in shown["items"]
    ]
    lines = [
        "## Send these results?",
        f"They go to the committee of {' and of '.join(f'**{plain(name)}**' for name in benchmarks)}.",
        "",
        *_table(("item", "benchmark", "model", "dataset", "cases", *names), rows),
    ]
    return _whole(lines)


def _table(header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(plain(cell) for cell in cells) + " |"

    return [line(header), line("---" for _ in header), *(line(row) for row in rows)]


def plain(value: Any) -> str:
    """A value that shows as it is: names and statistics come from strangers, and must not become links, images or rows."""
    seen = "".join(_visible(letter) for letter in str(value))
    return _MARKDOWN.sub(r"\\\g<0>", seen).replace("<", "&lt;")


def _visible(letter: str) -> str:
    """A letter, or its number where nobody would see it, or it would end the row."""
    if letter.isspace():
        return " "
    return letter if letter.isprintable() else f"{{U+{ord(letter):04X}}}"


def _vulnerabilities(cube: Mapping[str, Any]) -> str:
    """Counts by severity of the report that an owner attached."""
    for attachment in cube.get("attachments", ()):
        if attachment["kind"] == "vulnerabilities":
            counted = [f"{count} {severity}" for severity, count in attachment["counts"].items() if count]
            when = f"{attachment['dated'] or 'undated'}, attached {attachment['attached_at'][:10]}"
            return f"{', '.join(counted) or 'none found'}; {when}"
    return "no report"


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list) and value:
        return [(prefix, ", ".join(_number(item) for item in value))]
    return [(prefix, _number(value))]


def _number(value: Any) -> str:
    """A number, with a mark where it has more digits than are read with profit."""
    if not isinstance(value, float):
        return str(value)
    written = f"{value:.6g}"
    return written if float(written) == value else f"{written}…"


def _whole(lines: list[str]) -> str:
    text = "\n".join(lines)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\n\n(cut; `assay gate show` shows everything)"
