"""The typed client of the registry: `RegistryClient`, and the errors it raises."""

from api.client.errors import Refused, RegistryError, Unreachable, WrongContent
from api.client.registry import RegistryClient

__all__ = ["Refused", "RegistryClient", "RegistryError", "Unreachable", "WrongContent"]
