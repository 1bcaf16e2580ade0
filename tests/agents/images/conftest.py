"""A store of images that asks the registry of the test."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents.images.documents import ImageLimits
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from tests import small_images
from tests.small_images import Image, ImageRegistry


@pytest.fixture
def make_image() -> Callable[..., Image]:
    return small_images.make_image


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    with small_images.image_registry() as registry:
        yield registry


@pytest.fixture
def access() -> RegistryAccess:
    return RegistryAccess(pause_s=0.01)


@pytest.fixture
def store(tmp_path: Path, access: RegistryAccess) -> ImageStore:
    limits = ImageLimits(unpacked_bytes=1 << 20, entries=100)
    return ImageStore(tmp_path / "images", lambda reference: closing(RegistrySource(reference, access)), limits)
