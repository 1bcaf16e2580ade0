"""A site asks for the signatures that its settings and its benchmarks ask for, and keeps its secrets to itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agents.cube_store import CubeUnavailableError
from agents.home import SiteSettings, create_home, write_private
from agents.images.credentials import Login, RegistryCredentials
from agents.images.settings import ImageSettings
from agents.runtimes.docker.runtime import DockerRuntime
from agents.site import Site
from api.schemas.cubes import CubeRef
from api.schemas.records import SiteWork
from cubes.packing import pack_folder
from tests.small_images import ImageRegistry, image_registry, make_image

CONTRACT = """
container_type: DockerImage
image: {image}
tasks:
  infer:
    input_volumes: {{data_path: {{mount_path: /in, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: /out, type: directory}}}}
"""
Work = Callable[..., SiteWork]


def _public_key() -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, kind).decode()


@pytest.fixture
def images() -> Iterator[ImageRegistry]:
    with image_registry() as registry:
        yield registry


@pytest.fixture
def cube(tmp_path: Path, images: ImageRegistry, work: Work) -> CubeRef:
    """An image cube that nobody signed, as an approved model; its pack was carried here."""
    image = make_image([("a", {}, b"1")])
    reference = images.push(image).pinned(image.digest)
    (tmp_path / "cube").mkdir()
    (tmp_path / "cube" / "container_config.yaml").write_text(CONTRACT.format(image=reference))
    packed = pack_folder(tmp_path / "cube", tmp_path / "pack.tar")
    return work("model").benchmarks[0].models[0].cube.model_copy(update={"pack_digest": packed.digest})


@pytest.fixture
def make_site(tmp_path: Path, cube: CubeRef, work: Work) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(keys: tuple[str, ...] = (), benchmark_keys: tuple[str, ...] = (), **settings: object) -> Site:
        chosen = SiteSettings.model_validate(
            {"site": "north", "registry_url": "http://127.0.0.1:9", "images": ImageSettings(keys=keys), **settings}
        )
        site = Site(create_home(tmp_path / "home", chosen, "a-token").path)
        asked = work("model")
        (benchmark,) = asked.benchmarks
        model = benchmark.models[0].model_copy(update={"cube": cube})
        changed = benchmark.model_copy(update={"models": [model], "image_keys": list(benchmark_keys)})
        write_private(site.home.work_file, asked.model_copy(update={"benchmarks": [changed]}).model_dump_json())
        site.carried.keep(tmp_path / "pack.tar", cube.pack_digest)
        made.append(site)
        return site

    yield make
    for site in made:
        site.close()


class TestTrust:
    def test_nobody_asks_for_a_signature(self, make_site: Callable[..., Site], cube: CubeRef) -> None:
        assert make_site().cubes.bundle(cube).contract.unpinned is None

    def test_the_sites_own_keys(self, make_site: Callable[..., Site], cube: CubeRef) -> None:
        with pytest.raises(CubeUnavailableError, match="this site asks for a signature"):
            make_site(keys=(_public_key(),)).cubes.bundle(cube)

    def test_the_keys_of_a_benchmark_that_uses_the_cube(self, make_site: Callable[..., Site], cube: CubeRef) -> None:
        with pytest.raises(CubeUnavailableError, match="the benchmark 'bench' asks for a signature"):
            make_site(benchmark_keys=(_public_key(),)).cubes.bundle(cube)

    def test_not_of_one_that_does_not(self, make_site: Callable[..., Site], cube: CubeRef, tmp_path: Path) -> None:
        site = make_site(benchmark_keys=(_public_key(),))
        (tmp_path / "cube" / "README").write_text("another cube of the same image")
        other = pack_folder(tmp_path / "cube", tmp_path / "other.tar")
        site.carried.keep(tmp_path / "other.tar", other.digest)
        assert site.cubes.bundle(cube.model_copy(update={"pack_digest": other.digest}))

    def test_settings_come_back_from_the_file(self, make_site: Callable[..., Site]) -> None:
        key = _public_key()
        site = make_site(keys=(key,))
        with closing(Site(site.home.path)) as again:
            assert again.settings.images.keys == (key.strip(),)


class TestLogin:
    def test_it_is_read_from_a_file_of_the_sites_own(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        RegistryCredentials(site.home.registries_file).set("r.example", Login("reader", "secret"))
        assert site.image_access.login("r.example") == Login("reader", "secret")
        assert "secret" not in site.home.settings_file.read_text()

    def test_a_hub_token_that_others_may_read_is_not_sent(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        assert site._hub_token() is None
        write_private(site.home.hub_token_file, "hub-secret\n")
        assert site._hub_token() == "hub-secret"
        site.home.hub_token_file.chmod(0o644)
        with pytest.raises(Exception, match="chmod 600"):
            site._hub_token()


def test_the_docker_runtime_is_a_setting(make_site: Callable[..., Site]) -> None:
    runtime = make_site(runtime="docker", docker={"host": "unix:///nowhere/docker.sock"}).runtime
    assert isinstance(runtime, DockerRuntime)
    assert runtime.name == "docker"
