"""Who is on a committee."""

import pytest

from api.schemas.benchmarks import AssociationPolicy, BenchmarkPolicyUpdate, CommitteeMember
from tests.api.campaign import Campaign, refused

pytestmark = pytest.mark.stage("draft")


def _members(campaign: Campaign) -> list[int]:
    return [user.id for user in campaign.client("administrator").benchmarks.committee(campaign.benchmark_id)]


class TestAdd:
    def test_the_longest_standing_comes_first(self, campaign: Campaign) -> None:
        campaign.join_committee("stranger")
        ids = campaign.registry.ids
        assert _members(campaign) == [ids["benchmark_owner"], ids["committee_member"], ids["stranger"]]

    def test_a_member_has_the_committees_rights(self, campaign: Campaign) -> None:
        campaign.join_committee("stranger")
        assert campaign.client("stranger").benchmarks.submit(campaign.benchmark_id).subject_id == campaign.benchmark_id

    def test_twice_is_once_too_often(self, campaign: Campaign) -> None:
        with refused(409, "is on the committee of 'fna' already"):
            campaign.join_committee("committee_member")

    def test_somebody_must_be_there(self, campaign: Campaign) -> None:
        with refused(422, "there is no active user 999"):
            campaign.client("benchmark_owner").benchmarks.add_member(
                campaign.benchmark_id, CommitteeMember(user_id=999)
            )

    def test_who_has_left_is_not_taken(self, campaign: Campaign) -> None:
        campaign.client("administrator").users.deactivate(campaign.registry.ids["stranger"])
        with refused(422, "there is no active user"):
            campaign.join_committee("stranger")

    @pytest.mark.stage("opened")
    def test_outsiders_do_not_add_themselves(self, campaign: Campaign) -> None:
        member = CommitteeMember(user_id=campaign.registry.ids["stranger"])
        with refused(403, "It takes committee"):
            campaign.client("stranger").benchmarks.add_member(campaign.benchmark_id, member)


class TestRemove:
    def test_a_removed_member_has_no_rights(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.remove_member(
            campaign.benchmark_id, campaign.registry.ids["committee_member"]
        )
        with refused(404, "there is no benchmark"):
            campaign.client("committee_member").benchmarks.submit(campaign.benchmark_id)

    def test_the_owner_hands_over_to_who_has_been_there_longest(self, campaign: Campaign) -> None:
        campaign.join_committee("stranger")
        ids = campaign.registry.ids
        campaign.client("committee_member").benchmarks.remove_member(campaign.benchmark_id, ids["benchmark_owner"])
        benchmark = campaign.client("stranger").benchmarks.get(campaign.benchmark_id)
        assert (benchmark.owner_id, _members(campaign)) == (
            ids["committee_member"],
            [ids["committee_member"], ids["stranger"]],
        )

    def test_the_last_one_stays(self, campaign: Campaign) -> None:
        ids, client = campaign.registry.ids, campaign.client("benchmark_owner").benchmarks
        client.remove_member(campaign.benchmark_id, ids["committee_member"])
        with refused(409, "is the last on the committee of 'fna'. Add somebody else first"):
            client.remove_member(campaign.benchmark_id, ids["benchmark_owner"])

    def test_enough_for_the_quorum_stay(self, campaign: Campaign) -> None:
        client = campaign.client("benchmark_owner").benchmarks
        client.update_policy(campaign.benchmark_id, BenchmarkPolicyUpdate(dataset_policy=AssociationPolicy(quorum=2)))
        with refused(409, "a quorum of 2 cannot be reached by a committee of 1"):
            client.remove_member(campaign.benchmark_id, campaign.registry.ids["committee_member"])

    def test_who_is_not_on_it_cannot_be_removed(self, campaign: Campaign) -> None:
        with refused(404, "is not on the committee of 'fna'"):
            campaign.client("benchmark_owner").benchmarks.remove_member(
                campaign.benchmark_id, campaign.registry.ids["stranger"]
            )

    def test_both_stand_in_the_audit_log(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.remove_member(
            campaign.benchmark_id, campaign.registry.ids["committee_member"]
        )
        assert [a for a in campaign.actions() if a.startswith("committee.")] == [
            "committee.member_added",
            "committee.member_removed",
        ]
