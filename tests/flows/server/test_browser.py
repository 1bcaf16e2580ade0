"""A person at a real browser: signs in, opens the paused run in Prefect's own pages, resumes it with the form."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.server.conftest import PASSWORD, Place

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.browser]
CHROMIUM = Path("/usr/bin/chromium")
SHOWN = {
    "dataset": {"name": "north-2026", "title": "Breast FNA", "cases": 128},
    "roots": {"dataset": "sha256:" + "a" * 64, "labels": "sha256:" + "b" * 64},
    "statistics": {"age": {"mean": 54.25, "missing": 0}, "classes": {"benign": 80, "malignant": 48}},
    "items": [
        {"item": "1", "model": "net-a", "cube": {"pack_digest": "sha256:" + "c" * 64}, "metrics": {"auroc": 0.9731}},
        {"item": "2", "model": "net-b", "cube": {"pack_digest": "sha256:" + "d" * 64}, "metrics": {"auroc": 0.8812}},
    ],
}


@pytest.fixture
def page(place: Place) -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {str(CHROMIUM)!r}: install Debian's chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(base_url=place.url, viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def _shoot(page: Any, name: str) -> None:
    folder = os.environ.get("ASSAY_TEST_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def _sign_in(page: Any, who: str, then: str) -> None:
    page.goto(then)
    _shoot(page, f"sign-in-{who}")
    page.get_by_label("E-mail address").fill(f"{who}@north.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


class TestResume:
    def test_in_prefects_own_pages(self, place: Place, page: Any) -> None:
        run = place.ask(shown=SHOWN)
        gate = place.gate(run)
        _sign_in(page, "ann", f"/v2/runs/flow-run/{run}")
        page.get_by_role("button", name="Resume").first.wait_for()
        _shoot(page, "run-rests")
        page.get_by_role("button", name="Resume").first.click()
        dialog = page.get_by_role("dialog")
        dialog.wait_for()
        dialog.get_by_label("reason").fill("the numbers fit our patients")
        _choose_approve(page, dialog)
        _shoot(page, "form")
        dialog.get_by_role("button", name="Resume").or_(dialog.get_by_role("button", name="Submit")).first.click()
        assert place.end_of(run) == "approved by Ann <ann@north.example>, without []"
        (decision,) = place.decisions(gate)
        assert decision.reason == "the numbers fit our patients"
        page.get_by_text("Completed").first.wait_for()
        _shoot(page, "run-went-on")

    def test_on_our_page_by_whoever_may_not_and_then_by_whoever_may(self, place: Place, page: Any) -> None:
        run = place.ask(shown=SHOWN)
        gate = place.gate(run)
        _sign_in(page, "olga", "/waiting")
        _shoot(page, "waiting")
        page.goto(f"/waiting/{gate.id}")
        _decide(page)
        page.get_by_role("alert").wait_for()
        _shoot(page, "refused")
        page.get_by_role("button", name="Sign out").click()
        _sign_in(page, "ann", f"/waiting/{gate.id}")
        page.get_by_role("heading", name="Your decision").wait_for()
        _shoot(page, "gate")
        _decide(page)
        page.get_by_role("status").wait_for()
        assert "The run goes on" in page.get_by_role("status").inner_text()
        assert "by Ann <ann@north.example>" in page.get_by_role("main").inner_text()
        _shoot(page, "decided")
        assert place.end_of(run) == "approved by Ann <ann@north.example>, without []"


def _decide(page: Any) -> None:
    page.get_by_label("Approve").check()
    page.get_by_label("Why").fill("seen")
    page.get_by_role("button", name="Record my decision").click()


def _choose_approve(page: Any, dialog: Any) -> None:
    choice = dialog.get_by_role("combobox").first
    choice.click()
    page.get_by_role("option", name="approve").first.click()
