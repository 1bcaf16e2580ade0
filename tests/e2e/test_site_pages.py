"""A site's pages in a real browser on real servers: from signing in to a run that goes on."""

import json
from typing import Any, Final

from playwright.sync_api import Locator, expect
from sqlmodel import select

from agents.store.tables import Gate
from tests.e2e.browsing import ARRIVE_MS, MARKS
from tests.flows.server.conftest import PASSWORD, Place

pytestmark = MARKS
ATTACK: Final = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"


def _shown() -> dict[str, Any]:
    """Results of two models, and statistics; whoever named them is no friend."""
    features = {name: {"mean": 14.127, "sd": 3.524, "missing": 0} for name in ("radius", "texture", ATTACK)}
    return {
        "benchmark": {"id": 4, "name": "breast-fna", "title": ATTACK},
        "statistics": {"cases": 120, "malignant": 44, "features": features},
        "items": [
            {
                "item": str(number),
                "benchmark": {"id": 4, "name": "breast-fna"},
                "model": model,
                "dataset": "north-fna",
                "cases": 120,
                "metrics": metrics,
            }
            for number, model, metrics in (
                (1, "logistic-regression", {"auroc": 0.98123, "brier": 0.0612}),
                (2, ATTACK, {"auroc": 0.99023, "brier": 0.0498}),
            )
        ],
    }


class TestSite:
    def test_signing_in(self, place: Place, visit: Any) -> None:
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

    def test_a_gate_from_the_question_to_the_name(self, place: Place, visit: Any) -> None:
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

    def test_resuming_in_prefects_own_pages(self, place: Place, visit: Any) -> None:
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

    def test_a_viewer_is_refused(self, place: Place, visit: Any) -> None:
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

    def test_an_operator_reads_and_is_told_why_they_do_not_decide(self, place: Place, visit: Any) -> None:
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

    def test_on_a_telephone(self, place: Place, visit: Any) -> None:
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
    def _gate_of(place: Place, run: str) -> Any:
        with place.site.store.read() as session:
            return session.exec(select(Gate).where(Gate.flow_run_id == run)).one()
