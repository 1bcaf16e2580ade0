"""A site as applied, without its agent: rights and network are there before anything runs."""

from collections.abc import Iterator

import pytest

from tests.clusters import Namespace, image_registry, namespace
from tests.k8s.images import build_application
from tests.k8s.places import fill_in, open_to_the_cluster, replace


@pytest.fixture(scope="session")
def python_image() -> str:
    return image_registry().python()


@pytest.fixture(scope="session")
def application() -> str:
    """The application's image, by digest."""
    return build_application()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace with all of `k8s/site` but a running agent."""
    with namespace("site") as own:
        nobody = {"Deployment": [replace("/spec/replicas", 0)]}
        patches = {**open_to_the_cluster(), **nobody}
        folder = tmp_path_factory.mktemp("overlay") / "site"
        flows = ["site/components/flow-pods"]
        fill_in(folder, "site/overlays/embedded", own, patches=patches, components=flows)
        own.kubectl("apply", "-k", str(folder))
        yield own
