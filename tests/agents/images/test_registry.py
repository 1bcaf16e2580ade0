"""A registry is asked for a tag once; what it sends is believed by digest alone."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.images import credentials
from agents.images.credentials import Login, RegistryCredentials
from agents.images.documents import Descriptor, ImageLimits
from agents.images.errors import CredentialsError, ImageRefusedError, ImageTamperedError, ImageUnavailableError
from agents.images.registry import RegistryAccess, RegistrySource
from cubes.image_reference import ImageReference, parse_reference
from tests.meanwhile import second_at

Make = Callable[..., Any]


@pytest.fixture
def image(make_image: Make) -> Any:
    return make_image([("hello", {}, b"hello\n")])


@pytest.fixture
def reference(registry: Any, image: Any) -> ImageReference:
    found: ImageReference = registry.push(image)
    return found


@pytest.fixture
def source(reference: ImageReference, access: RegistryAccess) -> Iterator[RegistrySource]:
    with closing(RegistrySource(reference, access)) as source:
        yield source


def _layer(image: Any) -> Descriptor:
    return Descriptor.model_validate(json.loads(image.manifest)["layers"][0])


class TestResolve:
    def test_a_tag_becomes_the_digest_of_the_bytes(self, source: RegistrySource, image: Any) -> None:
        assert source.resolve() == image.digest

    def test_a_tag_that_moves_gives_another(
        self, source: RegistrySource, registry: Any, image: Any, make_image: Make
    ) -> None:
        before = source.resolve()
        registry.push(make_image([("hello", {}, b"other\n")]))
        assert source.resolve() != before == image.digest

    def test_no_such_tag(self, access: RegistryAccess, reference: ImageReference) -> None:
        source = RegistrySource(replace(reference, tag="none"), access)
        with closing(source), pytest.raises(ImageUnavailableError, match="is not in its registry"):
            source.resolve()


class TestVerify:
    def test_a_manifest_that_is_another(self, source: RegistrySource, registry: Any, image: Any) -> None:
        registry.manifests[f"org/model:{image.digest}"] = image.manifest + b" "
        with pytest.raises(ImageTamperedError) as caught:
            source.manifest(image.digest)
        assert (caught.value.wanted, caught.value.got != image.digest) == (image.digest, True)

    def test_a_configuration_that_is_another(self, source: RegistrySource, registry: Any, image: Any) -> None:
        config = Descriptor.model_validate(json.loads(image.manifest)["config"])
        registry.blobs[config.digest] = registry.blobs[config.digest].replace(b"linux", b"linus")
        with pytest.raises(ImageTamperedError, match=config.digest):
            source.document(config)

    @pytest.mark.parametrize("change", [lambda b: b[:-1] + b"x", lambda b: b[:-1], lambda b: b + b"x"])
    def test_a_layer_that_is_another(
        self, source: RegistrySource, registry: Any, image: Any, tmp_path: Path, change: Callable[[bytes], bytes]
    ) -> None:
        layer = _layer(image)
        registry.blobs[layer.digest] = change(registry.blobs[layer.digest])
        with pytest.raises(ImageTamperedError, match="nothing runs"):
            source.layer(layer, tmp_path / "layer")
        assert list(tmp_path.iterdir()) == []

    def test_a_layer_arrives_whole(self, source: RegistrySource, image: Any, tmp_path: Path) -> None:
        source.layer(_layer(image), tmp_path / "layer")
        assert (tmp_path / "layer").read_bytes() == image.blobs[_layer(image).digest]

    def test_a_document_without_end(self, registry: Any, reference: ImageReference, access: RegistryAccess) -> None:
        registry.manifests["org/model:1"] = b" " * 5000
        small = replace(access, limits=ImageLimits(document_bytes=4096))
        with closing(RegistrySource(reference, small)) as source, pytest.raises(ImageRefusedError, match="4096 bytes"):
            source.resolve()


class TestTryAgain:
    def test_a_busy_registry_is_asked_again(self, source: RegistrySource, registry: Any, image: Any) -> None:
        registry.failures = [503, 429]
        assert source.resolve() == image.digest

    def test_not_for_ever(self, source: RegistrySource, registry: Any) -> None:
        registry.failures = [503] * 10
        with pytest.raises(ImageUnavailableError, match="cannot be reached"):
            source.resolve()
        assert len(registry.requests) == 3

    def test_nobody_is_there(self, access: RegistryAccess) -> None:
        source = RegistrySource(parse_reference("127.0.0.1:9/org/model"), access)
        with closing(source), pytest.raises(ImageUnavailableError, match="try again when it is back"):
            source.resolve()


class TestLogin:
    LOGIN = base64.b64encode(b"reader:a password").decode()

    def test_a_token_is_asked_for_with_the_sites_login(
        self, registry: Any, reference: ImageReference, access: RegistryAccess, image: Any, tmp_path: Path
    ) -> None:
        registry.login = self.LOGIN
        credentials = RegistryCredentials(tmp_path / "secrets" / "registries.json")
        credentials.set(registry.address, Login("reader", "a password"))
        with closing(RegistrySource(reference, replace(access, login=credentials.get))) as source:
            assert source.resolve() == image.digest
        asked = [path for path, _ in registry.requests if path.startswith("/token")]
        assert asked == ["/token?scope=repository%3Aorg%2Fmodel%3Apull&service=test"]

    def test_the_password_goes_to_the_token_service_alone(
        self, registry: Any, reference: ImageReference, access: RegistryAccess
    ) -> None:
        registry.login = self.LOGIN
        with closing(
            RegistrySource(reference, replace(access, login=lambda _: Login("reader", "a password")))
        ) as source:
            source.resolve()
        with_password = [path for path, header in registry.requests if header == f"Basic {self.LOGIN}"]
        assert all(path.startswith("/token") for path in with_password)

    def test_a_wrong_one_is_refused(self, registry: Any, reference: ImageReference, access: RegistryAccess) -> None:
        registry.login = self.LOGIN
        source = RegistrySource(reference, replace(access, login=lambda _: Login("reader", "wrong")))
        with closing(source), pytest.raises(ImageUnavailableError, match="check the site's login") as caught:
            source.resolve()
        assert "wrong" not in str(caught.value)

    def test_a_realm_elsewhere_over_plain_http_gets_nothing(
        self, registry: Any, reference: ImageReference, access: RegistryAccess
    ) -> None:
        registry.login = self.LOGIN
        source = RegistrySource(reference, replace(access, login=lambda _: Login("reader", "a password")))
        with closing(source), pytest.raises(ImageRefusedError, match="plain HTTP"):
            source._authorize('Bearer realm="http://192.0.2.1/token",service="x"')


class TestPlainHttp:
    def test_only_where_the_settings_allow_it(self) -> None:
        reference = parse_reference("hospital.example:5000/model")
        assert RegistrySource(reference, RegistryAccess())._base.startswith("https://")
        allowed = RegistryAccess(plain_http=frozenset({"hospital.example:5000"}))
        assert RegistrySource(reference, allowed)._base.startswith("http://")

    @pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:5000", "[::1]:5000"])
    def test_the_machine_itself_is_allowed(self, host: str) -> None:
        assert RegistrySource(ImageReference(host, "m"), RegistryAccess())._base.startswith("http://")

    @pytest.mark.parametrize("host", ["localhost.evil.example:5000", "10.0.0.1:5000", "127.0.0.1.evil.example"])
    def test_nobody_else_is(self, host: str) -> None:
        assert RegistrySource(ImageReference(host, "m"), RegistryAccess())._base.startswith("https://")

    def test_a_redirection_into_the_clear_is_not_followed(
        self, source: RegistrySource, registry: Any, image: Any, tmp_path: Path
    ) -> None:
        registry.redirect = "http://192.0.2.1/blobs"
        with pytest.raises(ImageRefusedError, match=r"'192\.0\.2\.1' is asked over plain HTTP"):
            source.layer(_layer(image), tmp_path / "layer")


class TestCredentials:
    def test_the_file_is_closed_to_others(self, tmp_path: Path) -> None:
        credentials = RegistryCredentials(tmp_path / "registries.json")
        credentials.set("r.example", Login("reader", "secret"))
        assert (tmp_path / "registries.json").stat().st_mode & 0o777 == 0o600
        assert credentials.get("r.example") == Login("reader", "secret")
        assert credentials.get("other.example") is None
        credentials.remove("r.example")
        assert credentials.registries() == ()

    def test_of_two_logins_at_once_both_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        logins, login = RegistryCredentials(tmp_path / "registries.json"), Login("reader", "secret")
        second = second_at(monkeypatch, credentials, "write_private", lambda: logins.set("b.example", login))
        logins.set("a.example", login)
        second.result(60)
        assert logins.registries() == ("a.example", "b.example")

    def test_one_that_is_open_is_not_used(self, tmp_path: Path) -> None:
        credentials = RegistryCredentials(tmp_path / "registries.json")
        credentials.set("r.example", Login("reader", "secret"))
        (tmp_path / "registries.json").chmod(0o644)
        with pytest.raises(CredentialsError, match="chmod 600"):
            credentials.get("r.example")

    @pytest.mark.parametrize("text", ["", "[]", '{"auths": []}', '{"auths": {"r.example": {"auth": "!!"}}}'])
    def test_one_that_is_broken_says_so(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "registries.json"
        path.touch(mode=0o600)
        path.write_text(text)
        with pytest.raises(CredentialsError, match=r"again|anew"):
            RegistryCredentials(path).get("r.example")

    def test_a_password_is_not_printed(self) -> None:
        assert "secret" not in repr(Login("reader", "secret"))
