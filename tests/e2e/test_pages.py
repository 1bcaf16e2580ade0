"""A site's and a registry's pages as people see them, in a real browser on real servers: from signing in to a run that goes on.

Pictures of each step lie in the test's folder, and in the folder that `ASSAY_SCREENS` names.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Error, Locator, Page, expect, sync_playwright
from sqlmodel import select

from agents.store.tables import Gate
from tests.flows.server.conftest import (  # noqa: F401 - fixtures
    PASSWORD,
    Place,
    cluster,
    identity_provider,
    place,
    reviews,
    site_database,
)
from tests.flows.server.reviews import Reviews

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this host: apt install chromium"),
    pytest.mark.timeout(600),
    # Prefect's client leaves sockets of its event streams to the collector; the provider for tests imports what is deprecated.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:authlib.jose module is deprecated"),
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),
]
ACTION_MS: Final = 30_000
"""For one action on a page that is there."""
ARRIVE_MS: Final = 60_000
"""For Prefect's pages to come up: megabytes of script on a busy host."""
SCREENS: Final = "ASSAY_SCREENS"
_STYLED: Final = "[...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet)"
ATTACK: Final = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=ACTION_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visitor:
    """Somebody's browser; whatever of a stranger runs in it is noticed."""

    def __init__(self, chromium: Browser, url: str, folder: Path, *, width: int = 1280, height: int = 900) -> None:
        self.url, self._folder = url, folder
        self._context: BrowserContext = chromium.new_context(viewport={"width": width, "height": height})
        self._context.set_default_timeout(ACTION_MS)
        self.page: Page = self._context.new_page()
        self.answered: list[str] = []
        self.said: list[Dialog] = []
        self.page.on("response", lambda response: self.answered.append(response.url))
        self.page.on("dialog", self._close)

    def go(self, path: str) -> None:
        # Prefect's pages are never done loading for a browser that waits for the last picture.
        self.page.goto(self.url + path, wait_until="domcontentloaded", timeout=ARRIVE_MS)

    def arrive(self, path: str, there: Locator) -> None:
        """Open a page until something is seen there: a browser breaks off what it loads when the host's networks change."""
        for last in (False, False, True):
            try:
                self.go(path)
                expect(there.first).to_be_visible(timeout=ARRIVE_MS)
            except (AssertionError, Error):
                if last:
                    raise
            else:
                return

    def sign_in(self, email: str, password: str) -> None:
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password or personal token").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def picture(self, name: str, *, whole: bool = True) -> None:
        self.page.wait_for_function(_STYLED, timeout=ARRIVE_MS)
        elsewhere = os.environ.get(SCREENS)
        for folder in [self._folder, *([Path(elsewhere)] if elsewhere else [])]:
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png", full_page=whole, timeout=ARRIVE_MS)

    def open_run(self, run: str, state: str) -> None:
        """Prefect's own page of a flow run, once it says what state the run is in."""
        self.arrive(f"/v2/runs/flow-run/{run}", self.page.get_by_text(state, exact=True))

    def resume_form(self) -> Locator:
        """Prefect's form, opened from a run's menu."""
        self.page.get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name="Resume").click()
        form = self.page.get_by_role("dialog")
        form.wait_for()
        return form

    def decide(self, verdict: str, reason: str) -> None:
        """Our own form."""
        self.page.get_by_text(verdict, exact=True).click()
        self.page.get_by_label("Why").fill(reason)
        self.page.get_by_role("button", name="Record my decision").click()

    def unharmed(self) -> bool:
        """Whether no script but the server's own ran, and nothing was loaded from elsewhere."""
        return self.page.evaluate("window.hit") is None and not self.said

    def leave(self) -> None:
        self._context.close()

    def _close(self, dialog: Dialog) -> None:
        self.said.append(dialog)
        dialog.dismiss()


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


def _shown() -> dict[str, Any]:
    """Results of two models, and statistics; whoever named them is no friend."""
    features = {name: {"mean": 14.127, "sd": 3.524, "missing": 0} for name in ("radius", "texture", ATTACK)}
    return {
        "benchmark": {"id": 4, "name": "breast-fna", "title": ATTACK},
        "statistics": {"cases": 120, "malignant": 44, "features": features},
        "items": [
            {"item": str(number), "model": model, "dataset": "north-fna", "cases": 120, "metrics": metrics}
            for number, model, metrics in (
                (1, "logistic-regression", {"auroc": 0.98123, "brier": 0.0612}),
                (2, ATTACK, {"auroc": 0.99023, "brier": 0.0498}),
            )
        ],
    }


class TestSite:
    def test_signing_in(self, place: Place, visit: Any) -> None:  # noqa: F811 - the fixture
        place.ask()
        ann = visit(place.url)
        ann.go("/v2/dashboard")
        expect(ann.page.get_by_role("heading", name="Sign in to north")).to_be_visible()
        ann.picture("site-1-sign-in")
        ann.sign_in("ann@north.example", "wrong horse battery staple")
        expect(ann.page.get_by_role("alert")).to_contain_text("Nobody is known here", timeout=ARRIVE_MS)
        ann.picture("site-2-wrong-password")
        ann.sign_in("ann@north.example", PASSWORD)
        ann.page.wait_for_url("**/v2/dashboard", wait_until="commit", timeout=ARRIVE_MS)
        ann.arrive("/v2/dashboard", ann.page.get_by_text("Flow Runs", exact=True))
        ann.picture("site-3-dashboard")
        # Prefect's pages ask an analytics host all the same; the browser is told not to let them.
        assert [address for address in ann.answered if not address.startswith((place.url, "data:", "blob:"))] == []

    def test_a_gate_from_the_question_to_the_name(self, place: Place, visit: Any) -> None:  # noqa: F811
        run = place.ask(shown=_shown())
        gate = place.gate(run)
        ann = visit(place.url)
        ann.go(f"/waiting/{gate.id}")
        ann.sign_in("ann@north.example", PASSWORD)
        expect(ann.page.get_by_role("heading", name=gate.title)).to_be_visible(timeout=ARRIVE_MS)
        results = ann.page.get_by_role("region", name="results", exact=True)
        expect(results.get_by_role("columnheader")).to_have_text(["item", "model", "auroc", "brier"])
        expect(results.get_by_text(ATTACK)).to_be_visible()
        expect(ann.page.get_by_role("region", name="statistics: features")).to_contain_text("14.13")
        expect(ann.page.get_by_text(gate.digest, exact=True)).to_be_visible()
        ann.picture("site-4-gate")
        assert ann.unharmed()
        ann.decide("Approve", "the numbers agree with last week's")
        expect(ann.page.get_by_role("status")).to_contain_text("The run goes on", timeout=ARRIVE_MS)
        votes = ann.page.get_by_role("listitem")
        expect(votes).to_contain_text(["Approved by Ann <ann@north.example>"])
        ann.picture("site-5-decided-with-the-name")
        assert place.end_of(run).startswith("approved by Ann")
        ann.open_run(run, "Completed")
        name = ann.page.get_by_text("gate release_results: approve by Ann <ann@north.example>")
        expect(name).to_be_visible(timeout=ARRIVE_MS)
        ann.picture("site-6-run-went-on")
        assert ann.unharmed()

    def test_resuming_in_prefects_own_pages(self, place: Place, visit: Any) -> None:  # noqa: F811
        run = place.ask(shown=_shown())
        ann = visit(place.url)
        ann.go("/v2/runs")
        ann.sign_in("ann@north.example", PASSWORD)
        ann.open_run(run, "Suspended")
        ann.picture("site-7-paused-run")
        form = ann.resume_form()
        expect(form).to_contain_text("Send these results?")
        expect(form).to_contain_text("window.hit = 1")
        ann.page.wait_for_timeout(500)  # the dialog fades in: only for the picture
        ann.picture("site-8-prefects-form", whole=False)
        assert ann.unharmed()
        form.get_by_role("button", name="Select").first.click()
        ann.page.get_by_role("option", name="approve").click()
        form.locator("input, textarea").first.fill("seen in Prefect")
        self._fill_digest(form, place.gate(run).digest)
        form.get_by_role("button", name="Resume").click()
        assert place.end_of(run).startswith("approved by Ann")
        (decision,) = place.decisions(self._gate_of(place, run))
        assert (decision.person, decision.reason) == ("Ann <ann@north.example>", "seen in Prefect")

    def test_a_viewer_is_refused(self, place: Place, visit: Any) -> None:  # noqa: F811
        run = place.ask(shown=_shown())
        vic = visit(place.url)
        vic.go("/v2/runs")
        vic.sign_in("vic@north.example", PASSWORD)
        vic.open_run(run, "Suspended")
        answer = vic.page.evaluate(
            """async ([run, form]) => {
                const headers = {"content-type": "application/json"};
                const sent = await fetch(`/api/flow_runs/${run}/resume`, {method: "POST", headers, body: form});
                return [sent.status, await sent.text()];
            }""",
            [run, json.dumps(place.form(run))],
        )
        assert answer[0] == 403
        assert "viewer" in answer[1]
        vic.go(f"/waiting/{place.gate(run).id}")
        expect(vic.page.get_by_role("alert")).to_contain_text("may not look at gates")
        vic.picture("site-9-viewer-refused")
        assert place.state(run) == "PAUSED"
        assert place.decisions(place.gate(run)) == []

    def test_an_operator_reads_and_is_told_why_they_do_not_decide(self, place: Place, visit: Any) -> None:  # noqa: F811
        run = place.ask(shown=_shown())
        olga = visit(place.url)
        olga.go("/waiting")
        olga.sign_in("olga@north.example", PASSWORD)
        expect(olga.page.get_by_role("heading", name="What waits for a decision")).to_be_visible(timeout=ARRIVE_MS)
        olga.picture("site-10-waiting")
        olga.go(f"/waiting/{place.gate(run).id}")
        expect(olga.page.get_by_role("heading", name="Not yours to decide")).to_be_visible()
        expect(olga.page.get_by_role("button", name="Record my decision")).to_have_count(0)
        olga.picture("site-11-not-yours")

    def test_on_a_telephone(self, place: Place, visit: Any) -> None:  # noqa: F811
        run = place.ask(shown=_shown())
        ann = visit(place.url, width=390, height=844)
        ann.go(f"/waiting/{place.gate(run).id}")
        ann.sign_in("ann@north.example", PASSWORD)
        expect(ann.page.get_by_role("button", name="Record my decision")).to_be_visible(timeout=ARRIVE_MS)
        wide = ann.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, "the page scrolls sideways"
        ann.picture("site-12-telephone")
        ann.decide("Reject", "too few cases")
        expect(ann.page.get_by_role("status")).to_contain_text("recorded", timeout=ARRIVE_MS)
        assert place.end_of(run).startswith("rejected by Ann")

    @staticmethod
    def _fill_digest(form: Locator, digest: str) -> None:
        field = form.locator("input, textarea").nth(1)
        if field.input_value() != digest:
            field.fill(digest)

    @staticmethod
    def _gate_of(place: Place, run: str) -> Any:  # noqa: F811
        with place.site.store.read() as session:
            return session.exec(select(Gate).where(Gate.flow_run_id == run)).one()


class TestRegistry:
    def test_a_committee_member_decides_and_whoever_asked_does_not(self, reviews: Reviews, visit: Any) -> None:  # noqa: F811
        gate = reviews.release_gate()
        ada, bob = visit(reviews.url), visit(reviews.url)
        ada.go(f"/waiting/{gate.id}")
        expect(ada.page.get_by_role("heading", name="Sign in to registry")).to_be_visible()
        ada.picture("registry-1-sign-in")
        ada.sign_in("ada@university.example", reviews.there.tokens["ada"])
        expect(ada.page.get_by_role("heading", name="Not yours to decide")).to_be_visible(timeout=ARRIVE_MS)
        ada.picture("registry-2-whoever-asked")
        bob.go("/waiting")
        bob.sign_in("bob@university.example", reviews.there.tokens["bob"])
        bob.page.get_by_role("link", name=gate.title).click()
        results = bob.page.get_by_role("region", name="results", exact=True)
        expect(results).to_contain_text("random-forest", timeout=ARRIVE_MS)
        bob.picture("registry-3-gate")
        bob.decide("Reject", "one site alone is too few")
        expect(bob.page.get_by_role("status")).to_contain_text("Your decision is recorded", timeout=ARRIVE_MS)
        expect(bob.page.get_by_role("listitem")).to_contain_text(["Rejected by Bob <bob@university.example>"])
        bob.picture("registry-4-decided-with-the-name")
        assert reviews.concluded(gate).verdict == "reject"

    def test_runs_of_other_benchmarks_are_not_there(self, reviews: Reviews, visit: Any) -> None:  # noqa: F811
        gate, others = reviews.release_gate(), reviews.others_gate()
        bob = visit(reviews.url)
        bob.go("/v2/runs")
        bob.sign_in("bob@university.example", reviews.there.tokens["bob"])
        bob.arrive("/v2/runs", bob.page.get_by_text(gate.title[:40]))
        expect(bob.page.get_by_text(others.title[:30])).to_have_count(0)
        bob.picture("registry-5-runs")
        bob.open_run(str(gate.flow_run_id), "Suspended")
        bob.picture("registry-6-paused-run")
