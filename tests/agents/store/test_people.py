"""People of a site: known by a token of which the store keeps a hash alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from agents.errors import ConflictError, NotFoundError, NotPermittedError, NotSignedInError
from agents.home import Home
from agents.store import Store
from agents.store.people import (
    add_person,
    by_password,
    by_subject,
    find_person,
    list_people,
    renew_token,
    require,
    revoke,
    set_password,
    sign_in,
)
from agents.store.tables import Person, Role
from api.storage.columns import now

PASSWORD = "correct horse battery staple"


class TestSignIn:
    def test_a_token_names_its_person(self, store: Store) -> None:
        with store.write() as session:
            _, secret = add_person(session, email="a@b.example", name="A", role=Role.DATA_OWNER)
        with store.read() as session:
            assert sign_in(session, secret).email == "a@b.example"

    def test_the_file_does_not_hold_the_token(self, store: Store, home: Home) -> None:
        with store.write() as session:
            _, secret = add_person(session, email="a@b.example", name="A", role=Role.DATA_OWNER)
        store.close()
        assert secret.encode() not in home.store_file.read_bytes()

    def test_an_unknown_token_is_refused(self, store: Store) -> None:
        with store.read() as session, pytest.raises(NotSignedInError, match="not known"):
            sign_in(session, "assay_site_guess")

    def test_an_expired_token_is_refused(self, store: Store) -> None:
        with store.write() as session:
            someone, secret = add_person(session, email="a@b.example", name="A", role=Role.VIEWER)
            someone.expires_at = now() - timedelta(seconds=1)
            session.add(someone)
        with store.read() as session, pytest.raises(NotSignedInError, match="expired"):
            sign_in(session, secret)

    def test_a_revoked_token_is_refused_until_it_is_renewed(self, store: Store) -> None:
        with store.write() as session:
            _, secret = add_person(session, email="a@b.example", name="A", role=Role.VIEWER)
            revoke(session, "a@b.example")
        with store.read() as session, pytest.raises(NotSignedInError, match="revoked"):
            sign_in(session, secret)
        with store.write() as session:
            renewed = renew_token(session, "a@b.example")
        with store.read() as session:
            assert sign_in(session, renewed).email == "a@b.example"
            with pytest.raises(NotSignedInError):
                sign_in(session, secret)


class TestAdd:
    def test_an_address_is_taken_once(self, store: Store) -> None:
        with store.write() as session:
            add_person(session, email="a@b.example", name="A", role=Role.VIEWER)
            with pytest.raises(ConflictError, match="people renew"):
                add_person(session, email="a@b.example", name="B", role=Role.DATA_OWNER)
            assert [p.role for p in list_people(session)] == [Role.VIEWER]

    def test_nobody_of_that_address(self, store: Store) -> None:
        with store.write() as session, pytest.raises(NotFoundError, match=r"x@y\.example"):
            revoke(session, "x@y.example")


class TestAddress:
    """However somebody spells their address, they are the same person: as at the registry."""

    @pytest.mark.parametrize("spelled", ["Ann@North.Example", " ann@north.example ", "ANN@NORTH.EXAMPLE"])
    def test_it_is_found_as_it_is_kept(self, store: Store, spelled: str) -> None:
        with store.write() as session:
            _, token = add_person(session, email="Ann@north.example", name="Ann", role=Role.VIEWER)
            set_password(session, spelled, PASSWORD)
        with store.read() as session:
            assert find_person(session, spelled).email == "ann@north.example"
            assert by_password(session, spelled, PASSWORD).name == "Ann"
            assert by_password(session, spelled, token).name == "Ann"
            assert by_subject(session, "https://id.example", "7", spelled).name == "Ann"

    def test_another_spelling_is_not_another_person(self, store: Store) -> None:
        with store.write() as session:
            add_person(session, email="ann@north.example", name="Ann", role=Role.VIEWER)
            with pytest.raises(ConflictError, match="known at this site already"):
                add_person(session, email="ANN@north.example", name="Another", role=Role.DATA_OWNER)


class TestSubject:
    ISSUER = "https://id.example"

    @pytest.fixture(autouse=True)
    def _ann(self, store: Store) -> None:
        with store.write() as session:
            add_person(session, email="ann@north.example", name="Ann", role=Role.VIEWER)
            by_subject(session, self.ISSUER, "7", "ann@north.example")

    def test_after_the_first_time_their_number_alone_counts(self, store: Store) -> None:
        with store.write() as session:
            assert by_subject(session, self.ISSUER, "7", "married@north.example").name == "Ann"

    @pytest.mark.parametrize(("issuer", "number"), [(ISSUER, "8"), ("https://other.example", "7")])
    def test_an_address_is_nobody_elses_afterwards(self, store: Store, issuer: str, number: str) -> None:
        with store.write() as session, pytest.raises(NotSignedInError, match="not known at this site"):
            by_subject(session, issuer, number, "ann@north.example")

    def test_somebody_unknown(self, store: Store) -> None:
        with store.write() as session, pytest.raises(NotSignedInError, match=r"eve@x\.example"):
            by_subject(session, self.ISSUER, "9", "eve@x.example")

    def test_somebody_revoked(self, store: Store) -> None:
        with store.write() as session:
            revoke(session, "ann@north.example")
            with pytest.raises(NotSignedInError, match="revoked"):
                by_subject(session, self.ISSUER, "7", "ann@north.example")


def test_the_whole_map_of_rights(person: Callable[[Role], Person]) -> None:
    found: dict[tuple[str, str], bool] = {}
    for role in Role:
        for right in ("look", "start", "decide"):
            try:
                require(person(role), right)
            except NotPermittedError:
                found[role.value, right] = False
            else:
                found[role.value, right] = True
    assert found == {
        ("data_owner", "look"): True,
        ("data_owner", "start"): True,
        ("data_owner", "decide"): True,
        ("operator", "look"): True,
        ("operator", "start"): True,
        ("operator", "decide"): False,
        ("viewer", "look"): True,
        ("viewer", "start"): False,
        ("viewer", "decide"): False,
    }
