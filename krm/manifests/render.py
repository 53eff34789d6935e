"""All objects of a profile, by the file that they lie in, and the Kustomize folders of ``deploy/``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from krm.manifests import access, api, monitoring, network, redis, workers
from krm.manifests.options import NAMESPACE, Options, Profile
from krm.manifests.pods import PRIORITY, Object, named

HEADER: Final = "# Made by `krm manifests`. A change is made there, or in an overlay of your own.\n"


def render(options: Options) -> dict[str, list[Object]]:
    """Objects by file name, in the order in which they are to be applied."""
    files = {
        "namespace.yaml": _ground(),
        "access.yaml": access.objects(options),
        "network.yaml": network.objects(options),
        "configuration.yaml": [named("v1", "ConfigMap", "krm", "configuration", data=options.configuration)],
        "redis.yaml": redis.objects(options),
        "workers.yaml": workers.objects(options),
        "api.yaml": api.objects(options),
        "monitoring.yaml": monitoring.objects(options),
    }
    return {name: objects for name, objects in files.items() if objects}


def objects(options: Options) -> list[Object]:
    """The same in one list."""
    return [one for part in render(options).values() for one in part]


def folder(options: Options) -> dict[str, str]:
    """The files of a Kustomize folder: plain lists, which every kubectl renders."""
    files = render(options)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": list(files),
    }
    texts = {name: text(parts) for name, parts in files.items()}
    if options.settings.namespaces:  # roles in other namespaces: one namespace for all would move them
        del kustomization["namespace"]
    return {"kustomization.yaml": text([kustomization]), **texts}


def folders(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The contents of ``deploy/``, by path: the base, and an overlay for each profile."""
    found: dict[str, str] = {}
    for profile in Profile:
        place = profile.value if profile is Profile.BASE else f"overlays/{profile.value}"
        for name, content in folder(Options.of(profile, env or {})).items():
            found[f"{place}/{name}"] = content
    return found


def write(target: Path) -> list[Path]:
    """Write ``folders`` below ``target``."""
    written = []
    for name, content in folders().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def text(objects: Iterable[Any]) -> str:
    """YAML documents."""
    documents = [
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120, default_flow_style=False) for one in objects
    ]
    return HEADER + "---\n".join(documents)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are; nothing twice by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (yaml's own signature)
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _lines(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _lines)


def _ground() -> list[Object]:
    """The namespace, which takes no Pod that is not "restricted", and the priority of what many ask."""
    namespace = named("v1", "Namespace", NAMESPACE, "namespace", cluster_wide=True)
    modes = ("enforce", "audit", "warn")
    namespace["metadata"]["labels"] |= {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
    priority = named(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        PRIORITY,
        "namespace",
        cluster_wide=True,
        value=1_000,
        description="Before workloads without a priority: many ask KRM instead of the API server.",
    )
    return [namespace, priority]
