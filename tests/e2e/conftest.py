"""Browsers, and what they look at: a site and a registry behind their sign-in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.browsing import ACTION_MS, CHROMIUM, Visitor
from tests.flows.server.conftest import (  # noqa: F401 - fixtures
    cluster,
    identity_provider,
    place,
    resting_place,
    reviews,
    site_database,
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=ACTION_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, tmp_path: Path) -> Iterator[Any]:
    """Open a browser: `visit(url)`."""
    visitors: list[Visitor] = []

    def arrive(url: str, **size: int) -> Visitor:
        visitors.append(Visitor(chromium, url, tmp_path, **size))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.leave()
