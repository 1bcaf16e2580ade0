"""A registry's pages in a real browser on real servers: whoever asked, and whoever decides."""

from typing import Any

from playwright.sync_api import expect

from tests.e2e.browsing import ARRIVE_MS, MARKS
from tests.flows.server.reviews import Reviews

pytestmark = MARKS


class TestRegistry:
    def test_a_committee_member_decides_and_whoever_asked_does_not(self, reviews: Reviews, visit: Any) -> None:
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

    def test_runs_of_other_benchmarks_are_not_there(self, reviews: Reviews, visit: Any) -> None:
        gate, others = reviews.release_gate(), reviews.others_gate()
        bob = visit(reviews.url)
        bob.go("/v2/runs")
        bob.sign_in("bob@university.example", reviews.there.tokens["bob"])
        bob.arrive("/v2/runs", bob.page.get_by_text(gate.title[:40]))
        expect(bob.page.get_by_text(others.title[:30])).to_have_count(0)
        bob.picture("registry-5-runs")
        bob.open_run(str(gate.flow_run_id), "Suspended")
        bob.picture("registry-6-paused-run")
