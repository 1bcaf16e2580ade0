"""YAML from strangers: what is not plain, small data is refused with its line, and never costs more than it is long."""

import pytest

from cubes.strict_yaml import StrictYamlError, load


def _bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [" + ", ".join([f"*{before}"] * 9) + "]")
    return "\n".join(lines)


class TestLoad:
    def test_plain_data(self) -> None:
        assert load("a: 1\nb: [x, 2.5, true, null]", max_bytes=100) == {"a": 1, "b": ["x", 2.5, True, None]}

    def test_nothing_is_none(self) -> None:
        assert load("# only a remark", max_bytes=100) is None

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("a: 1\nb: \x1b[31m", 2, "not allowed in YAML"),
            ("a: \x00", 1, "not allowed in YAML"),
            (_bomb(), 2, "aliases"),
            ("a: 1\nb: 2\na: 3", 3, "appears twice"),
            ("a: !!python/name:os.system", 1, "not plain data"),
            ("a: 2026-01-01", 1, "quote it"),
            ("? [a, b]\n: 1", 1, "plain word"),
            ("a: " + "[" * 20 + "]" * 20, 1, "nested deeper"),
            ("a: 1\n--- \nb: 2", 2, "another document"),
            ("a: [1", 1, "expected"),
            ("[" * 90_000, 1, "nested deeper"),
            ("- " * 45_000, 1, "nested deeper"),
            ("{a: " * 20_000, 1, "nested deeper"),
        ],
    )
    def test_what_is_refused(self, text: str, line: int, said: str) -> None:
        with pytest.raises(StrictYamlError, match=said) as refused:
            load(text, max_bytes=100_000)
        assert refused.value.line == line

    def test_too_large(self) -> None:
        with pytest.raises(StrictYamlError, match="larger than 3 bytes"):
            load("a: 1", max_bytes=3)
