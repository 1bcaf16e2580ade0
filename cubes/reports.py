"""Reports: what metrics cubes and preparators write, read as what strangers wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cubes import strict_yaml
from cubes.digests import untag_non_finite
from cubes.errors import ReportError
from cubes.metrics import MetricSchema

MAX_METRICS_BYTES: Final = 64 * 1024
MAX_STATISTICS_BYTES: Final = 128 * 1024
MAX_STRING: Final = 200


def read_metrics(path: Path, schemas: Sequence[MetricSchema]) -> dict[str, float]:
    """The metrics of one evaluation: exactly those the benchmark names, each within its range or NaN.

    A cube may measure more than a benchmark asks for; that is no metric of the benchmark, and not among these.
    `path` is the report or a folder that holds exactly one.

    Raises:
        ReportError: not YAML, a metric missing, not a number or out of range.
    """
    report = _load(path, MAX_METRICS_BYTES)
    known = {schema.name: schema for schema in schemas}
    if missing := sorted(set(known) - set(report)):
        raise ReportError(
            f"the metrics report: metric {missing[0]!r} is missing; the benchmark's metrics are"
            f" {', '.join(sorted(known))}, the report has {', '.join(sorted(report)) or 'none'}"
        )
    return {name: _number(schema, report[name]) for name, schema in known.items()}


def read_more(path: Path, schemas: Sequence[MetricSchema]) -> dict[str, Any]:
    """What the same report says besides: for whoever may read all of it.

    Raises:
        ReportError: it cannot be read.
    """
    known = {schema.name for schema in schemas}
    return {name: value for name, value in _load(path, MAX_METRICS_BYTES).items() if name not in known}


def read_statistics(path: Path) -> dict[str, Any]:
    """The statistics of a dataset: plain, small data.

    Raises:
        ReportError: not a YAML mapping of plain values, too large, or with a text that could be a record.
    """
    report = _load(path, MAX_STATISTICS_BYTES)
    _refuse_texts(report, "")
    return report


def _load(path: Path, limit: int) -> dict[str, Any]:
    try:
        if path.is_dir():
            (path,) = [entry for entry in path.iterdir() if entry.suffix in {".yaml", ".yml"}]
        with path.open("rb") as file:
            raw = file.read(limit + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ReportError(
            f"the report {path.name!r} cannot be read ({type(error).__name__}): write one UTF-8 YAML file"
        ) from None
    try:
        report = strict_yaml.load(text, max_bytes=limit)
    except strict_yaml.StrictYamlError as problem:
        raise ReportError(f"the report {path.name!r} is not plain YAML, {problem}") from None
    if not isinstance(report, dict) or not all(isinstance(key, str) for key in report):
        raise ReportError(f"the report {path.name!r} is not a mapping of names: write `name: value` lines")
    return report


def _number(schema: MetricSchema, value: Any) -> float:
    value = untag_non_finite(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReportError(f"metric {schema.name!r} is not a number")
    number = float(value)
    if not schema.allows(number):
        raise ReportError(f"metric {schema.name!r} is {number}, outside {schema.minimum} to {schema.maximum}")
    return number


def _refuse_texts(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or len(key) > MAX_STRING or not key.isprintable():
                raise ReportError(f"statistics at {where or 'the top'}: keys are short texts that everybody can see")
            _refuse_texts(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            _refuse_texts(item, where)
    elif isinstance(value, str) and len(value) > MAX_STRING:
        raise ReportError(f"statistics at {where!r}: a text longer than {MAX_STRING} characters is not a statistic")
    elif isinstance(value, str) and not value.isprintable():
        raise ReportError(f"statistics at {where!r}: a text has letters that nobody sees: people approve what they see")
