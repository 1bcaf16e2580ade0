"""Organizations and users."""

import pytest

from api.client import Refused
from api.schemas.people import OrganizationCreate
from tests.api.world import Registry


class TestCreateOrganization:
    def test_it_is_there_afterwards(self, registry: Registry) -> None:
        client = registry.client_of("administrator")
        made = client.organizations.create(OrganizationCreate(name="clinic", title="The Clinic"))
        assert client.organizations.get(made.id) == made
        assert client.organizations.list(name="clinic").items == [made]

    def test_a_name_is_taken_once(self, registry: Registry) -> None:
        client = registry.client_of("administrator")
        with pytest.raises(Refused, match=r"an organization 'north' exists already. Use it") as refused:
            client.organizations.create(OrganizationCreate(name="north", title="Another"))
        assert refused.value.status == 409
