"""The shape comes from the official models, whatever client spells them, and nothing is skipped silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import krm.objects
from krm.objects import shapes
from krm.schema import build, models, sdl


@dataclass
class Model:
    openapi_types: Mapping[str, str]
    attribute_map: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attribute_map = {name: self.attribute_map.get(name, name) for name in self.openapi_types}


def known(map_type: str, list_type: str) -> dict[str, Model]:
    spec = {
        "labels": map_type % "str",
        "ports": f"{list_type}[V1Port]",
        "names": f"{list_type}[str]",
        "claims": f"{list_type}[V1ResourceClaim]",
        "at": "datetime",
        "count": "int",
        "port": "object",
        "is_on": "bool",
        "share": "float",
    }
    return {
        "V1Pod": Model({"spec": "V1Spec", "api_version": "str"}, {"api_version": "apiVersion"}),
        "V1Spec": Model(spec, {"is_on": "isON"}),
        "V1Port": Model({"exec": "str"}),
        "V1ResourceClaim": Model({"name": "str"}),
    }


SPELLINGS = {"37": ("Dict[str, %s]", "List"), "36": ("dict[str, %s]", "list"), "35": ("dict(str, %s)", "list")}


@pytest.mark.parametrize(("map_type", "list_type"), SPELLINGS.values(), ids=SPELLINGS)
def test_every_clients_spelling_gives_the_same_shape(map_type: str, list_type: str) -> None:
    assert models.shape(known(map_type, list_type), ("Pod",)) == {
        "Pod": {"apiVersion": "String", "spec": "Spec"},
        "Port": {"exec": "String"},
        "ResourceClaim": {"name": "String"},
        "Spec": {
            "at": "DateTime",
            "claims": "[ResourceClaim]",
            "count": "Long",
            "isON": "Boolean",
            "labels": "{String}",
            "names": "[String]",
            "port": "JSON",
            "ports": "[Port]",
            "share": "Float",
        },
    }


@pytest.mark.parametrize("spelling", ["Set[str]", "V1Unknown", "Dict[int, str]", "Dict[str, V1Spec]", "bytes", ""])
def test_an_unknown_spelling_is_refused(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"Pod\.x"):
        models.shape({"V1Pod": Model({"x": spelling}), "V1Spec": Model({})}, ("Pod",))


@pytest.mark.parametrize("name", ["from", "except", "$ref", "__typename", "x-y", "object", "requests", "node"])
def test_a_name_that_cannot_be_a_plain_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Pod"):
        models.shape({"V1Pod": Model({"x": "str"}, {"x": name})}, ("Pod",))


def test_two_models_of_one_name_are_refused() -> None:
    two = {
        "V1Pod": Model({"a": "CoreV1ResourceClaim", "b": "V1ResourceClaim"}),
        "V1ResourceClaim": Model({"name": "str"}),
        "CoreV1ResourceClaim": Model({"name": "str"}),
    }
    with pytest.raises(ValueError, match="both ResourceClaim"):
        models.shape(two, ("Pod",))


@pytest.mark.parametrize(
    ("model", "name"), [("V1Pod", "Pod"), ("CoreV1ResourceClaim", "ResourceClaim"), ("V1PodOS", "PodOS")]
)
def test_types_are_named_without_their_version(model: str, name: str) -> None:
    assert models.type_name(model) == name


@pytest.mark.parametrize("model", ["Pod", "V2Pod", "V1beta1Pod", "V1"])
def test_other_names_are_refused(model: str) -> None:
    with pytest.raises(ValueError, match="v1 model"):
        models.type_name(model)


def test_the_committed_shape_is_what_the_installed_client_gives() -> None:
    path = Path(krm.objects.__file__).parent / "shape.json"
    assert path.read_text(encoding="utf-8") == models.text()


def test_the_committed_shape_has_the_wire_names_and_sorts() -> None:
    spec = shapes.shape("PodSpec").fields
    assert spec["hostIPC"].scalar == "Boolean"
    assert (spec["containers"].type, spec["containers"].list) == ("Container", True)
    assert spec["overhead"].map
    assert shapes.shape("ResourceFieldSelector").fields["divisor"].scalar == "Quantity"
    assert shapes.shape("HTTPGetAction").fields["port"].scalar == "JSON"
    assert shapes.shape("ObjectMeta").fields["generation"].scalar == "Long"
    assert shapes.shape("ObjectMeta").fields["creationTimestamp"].scalar == "DateTime"


def test_the_schema_is_the_committed_one() -> None:
    """A difference is a change of the contract: look at it, then write it with ``python -m krm.schema.build``."""
    assert build.sdl() == sdl.text()
