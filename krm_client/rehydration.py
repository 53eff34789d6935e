"""A manifest into the official model object, whichever generation of ``kubernetes`` is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from krm_client.models import lazy, objects


def rehydrate(model: str, manifest: Mapping[str, Any] | bytes | str, *, eager: bool = False) -> Any:
    """The official model (``"V1Pod"``) of a manifest: equal to what ``ApiClient.deserialize`` makes of it.

    ``manifest`` is a mapping or its JSON. Fields are decoded when they are first read, unless ``eager``;
    either way the object is an instance of the official class and behaves as one. What the official client
    would refuse (a required field that is missing) is read as None, for an API server did send it; what it
    converts or refuses by type, it converts or refuses here when it is read.

    Raises ``ValueError`` for what is not JSON, ``LookupError`` for a model that the installed client does not have.
    """
    body = manifest if isinstance(manifest, (bytes, str)) else objects.encoded(manifest)
    return objects.from_json(objects.shape_of_single(model, eager=eager), body)


def fields_of(instance: Any) -> tuple[str, ...] | None:
    """The paths that an object of ``list(..., fields=...)`` holds, relative to it; None for a whole object.

    Lists appear without their index: ``spec.containers.image``.
    """
    held = lazy.held_paths(instance)
    return None if held is None else tuple(".".join(path) for path in held)
