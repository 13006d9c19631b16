"""Figures as JSON documents: the names of the fields in camelCase, as everywhere in the API."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def document(value: object) -> Any:
    """A dataclass with all that is in it, as what JSON knows.

    Keys of mappings (states, ports) stay as they are, but are text.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [document(one) for one in value]
    if isinstance(value, float):
        return round(value, 4)
    return value


def camel(name: str) -> str:
    """`open_descriptors` is openDescriptors."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
