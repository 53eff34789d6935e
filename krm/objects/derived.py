"""What KRM computes of an object when it arrives: the derived columns of its kind.

The registry names the columns; this module knows what they mean. A value that cannot be computed (a malformed quantity)
is None, never an error: a bad object must not stop the stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from krm.objects import quantities
from krm.objects.quantities import Quantity
from krm.resources import Resource

Object = Mapping[str, Any]
Amounts = dict[str, Quantity]
_CLAIMS: Final = "persistentVolumeClaims"
_SCALARS: Final = frozenset((str, int, float, bool))


def columns(resource: Resource, obj: Object) -> tuple[Any, ...]:
    """Values of ``resource.columns`` for ``obj`` (decoded JSON), in their order; None where there is none."""
    return deriver(resource)(obj)


def deriver(resource: Resource) -> Callable[[Object], tuple[Any, ...]]:
    """``columns`` of one kind, prepared for many objects."""
    compute = _COMPUTED.get(resource.plural)
    wanted = [(column.name, None if column.path is None else _steps(column.path)) for column in resource.columns]

    def derive(obj: Object) -> tuple[Any, ...]:
        computed = compute(obj) if compute else {}
        return tuple([computed.get(name) if steps is None else _scalar(_walked(obj, steps)) for name, steps in wanted])

    return derive


def looker(resource: Resource) -> Callable[[Any, Callable[[], Object]], tuple[Any, ...]]:
    """``columns`` of one kind out of what ``projections`` saw of an object, and the whole of it where need be."""
    compute = _SEEN.get(resource.plural)
    wanted = [
        (column.name, None if column.path is None else _getter(_steps(column.path))) for column in resource.columns
    ]

    def derive(look: Any, whole: Callable[[], Object]) -> tuple[Any, ...]:
        computed = compute(look, whole) if compute else {}
        return tuple([computed.get(name) if get is None else get(look) for name, get in wanted])

    return derive


def _getter(steps: tuple[str, ...]) -> Callable[[Any], Any]:
    *above, last = steps

    def get(look: Any) -> Any:
        for step in above:
            look = getattr(look, step)
            if look is None:
                return None
        value = getattr(look, last)
        return value if type(value) in _SCALARS else None

    return get


def at(obj: Any, path: str) -> Any:
    """The value at a plain dotted path, None where a step is missing."""
    return _walked(obj, _steps(path))


def _walked(obj: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


@functools.cache  # the paths are those of the registry
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _scalar(value: Any) -> Any:
    return value if type(value) in _SCALARS else None


def pod_requests(pod: Object) -> Mapping[str, Quantity]:
    """What the scheduler counts for a pod, by resource name, exactly.

    The larger of (containers + restartable init containers) and of the peak while init containers run one after
    another, each beside the restartable ones started before it; then requests of the pod as a whole in place of the
    sum where they are given; then the pod's overhead on top. Source: component-helpers/resource (Kubernetes 1.34+).
    """
    spec = _mapping(pod.get("spec"))
    total: Amounts = {}
    for container in _mappings(spec.get("containers")):
        _add(total, _requests(container))
    restartable: Amounts = {}
    peak: Amounts = {}
    for container in _mappings(spec.get("initContainers")):
        asked = dict(_requests(container))
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
            _add(restartable, asked)
            asked = dict(restartable)
        else:
            _add(asked, restartable)
        _raise_to(peak, asked)
    _raise_to(total, peak)
    total |= {name: amount for name, amount in _requests(spec).items() if _is_of_the_whole_pod(name)}
    overhead = _quantities(spec.get("overhead"))
    _add(total, overhead)
    return total


def claims(pod: Object) -> list[str]:
    """Names of the claims that a pod mounts, ephemeral ones under the name that Kubernetes gives them."""
    name = at(pod, "metadata.name")
    names: list[str] = []
    for volume in _mappings(_mapping(pod.get("spec")).get("volumes")):
        if "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            continue
        if volume.get("ephemeral") is not None:
            claim: Any = f"{name}-{volume.get('name')}"
        else:
            claim = _mapping(volume.get("persistentVolumeClaim")).get("claimName")
        if isinstance(claim, str) and claim not in names:
            names.append(claim)
    return names


def _pod(pod: Object) -> dict[str, Any]:
    return {**_requested(pod), _CLAIMS: claims(pod)}


def _requested(pod: Object) -> Mapping[str, str | None]:
    """The columns of what a pod requests; of the same requests computed once, as most pods of a cluster are alike."""
    try:
        spelled = repr(_spelled(pod))
    except (AttributeError, TypeError, RecursionError):  # malformed: computed each time, which says how
        return _computed_requests(pod)
    return _REQUESTED.get(spelled) or _remembered(spelled, _computed_requests(pod))


def _remembered(spelled: str | bytes, requested: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(_REQUESTED) >= _REQUESTED_MAX:
        _REQUESTED.clear()
    if len(spelled) <= _SPELLED_MAX:
        _REQUESTED[spelled] = requested
    return requested


def _seen_pod(look: Any, whole: Callable[[], Object]) -> Mapping[str, Any]:
    """The same as ``_pod``, of which the parts that requests are made of were left as the bytes that they are."""
    spec = look.spec
    if spec is None:
        return _pod(whole())
    parts = [b"" if one.resources is None else one.resources.requests for one in spec.containers or ()]
    if spec.initContainers:
        parts += [b"%s:%s" % (one.restartPolicy, _seen_requests(one)) for one in spec.initContainers]
        parts.append(b"%d" % len(spec.initContainers))
    # The parts are JSON, in which no byte is a control character: so no two pods are spelled alike that are not.
    spelled = b"\0".join([*parts, _seen_requests(spec), spec.overhead])
    requested = _REQUESTED.get(spelled) or _remembered(spelled, {**_computed_requests(whole()), _CLAIMS: []})
    names = _seen_claims(look.metadata.name, spec.volumes or ())
    return {**requested, _CLAIMS: names} if names else requested


def _seen_requests(of: Any) -> Any:
    return b"" if of.resources is None else of.resources.requests


def _seen_claims(name: str, volumes: Iterable[Any]) -> list[str]:
    names: list[str] = []
    for volume in volumes:
        claim = volume.persistentVolumeClaim
        if claim is None and not volume.ephemeral:
            continue
        if volume.ephemeral and bytes(volume.ephemeral) != b"null":
            found: Any = f"{name}-{volume.name}"
        else:
            found = claim and claim.claimName
        if isinstance(found, str) and found not in names:
            names.append(found)
    return names


def _spelled(pod: Object) -> tuple[Any, ...]:
    """All that ``pod_requests`` looks at."""
    spec = pod.get("spec", {})
    started = spec.get("initContainers") or ()
    return (
        [_asked(container) for container in spec.get("containers") or ()],
        [(container.get("restartPolicy"), _asked(container)) for container in started],
        _asked(spec),
        spec.get("overhead"),
    )


def _asked(of: Object) -> Any:
    resources = of.get("resources")
    return resources and resources.get("requests")


def _computed_requests(pod: Object) -> Mapping[str, str | None]:
    try:
        amounts = pod_requests(pod)
    except ValueError:
        return {}
    gpus = [amount for name, amount in amounts.items() if name.endswith("/gpu")]
    return {
        "requests.cpu": _shown(amounts.get("cpu")),
        "requests.memory": _shown(amounts.get("memory")),
        "requests.gpu": _shown(sum(gpus[1:], gpus[0])) if gpus else None,
    }


_REQUESTED: Final[dict[str | bytes, Mapping[str, Any]]] = {}
_REQUESTED_MAX: Final = 4_096
_SPELLED_MAX: Final = 4_096
"""Characters of one such key: the memory stays bounded whatever objects come."""


LOOKED_AT: Final[Mapping[str, Mapping[str, Any]]] = {
    "pods": {
        "spec.containers[*].resources.requests": msgspec.Raw,
        "spec.initContainers[*].resources.requests": msgspec.Raw,
        "spec.initContainers[*].restartPolicy": msgspec.Raw,
        "spec.resources.requests": msgspec.Raw,
        "spec.overhead": msgspec.Raw,
        "spec.volumes[*].name": Any,
        "spec.volumes[*].persistentVolumeClaim.claimName": Any,
        "spec.volumes[*].ephemeral": msgspec.Raw,
    }
}
"""What is computed needs these parts of an object beside the columns' own paths: their types, or the bytes."""

_COMPUTED: Final[Mapping[str, Callable[[Object], dict[str, Any]]]] = {"pods": _pod}
_SEEN: Final[Mapping[str, Callable[[Any, Callable[[], Object]], Mapping[str, Any]]]] = {"pods": _seen_pod}


def _is_of_the_whole_pod(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _shown(amount: Quantity | None) -> str | None:
    return None if amount is None else quantities.text(amount)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _quantities(amounts: Any) -> Mapping[str, Quantity]:
    return {name: quantities.parse(amount) for name, amount in _mapping(amounts).items()}


def _requests(container: Mapping[str, Any]) -> Mapping[str, Quantity]:
    return _quantities(at(container, "resources.requests"))


def _add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Amounts, floor: Mapping[str, Quantity]) -> None:
    for name, amount in floor.items():
        if name not in total or amount.value > total[name].value:
            total[name] = amount
