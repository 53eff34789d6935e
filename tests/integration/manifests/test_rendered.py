"""The manifests as a cluster would take them: rendered by kubectl, valid by Kubernetes' own schemas."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from krm.manifests import passwords, render
from krm.manifests.options import Options, Profile
from tests import debian
from tests.validator import validator

ROOT: Final = Path(__file__).resolve().parents[3]


def places(objects: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Objects by kind, namespace and name."""
    return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in objects}


@pytest.mark.parametrize("profile", Profile)
def test_kubectl_renders_what_krm_manifests_prints(profile: Profile) -> None:
    kubectl = debian.program("kubectl", package="kubernetes-client")
    folder = ROOT / "deploy" / ("base" if profile is Profile.BASE else f"overlays/{profile}")
    done = subprocess.run(
        [kubectl.path, "kustomize", folder], env=kubectl.env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert places(yaml.safe_load_all(done.stdout)) == places(render.objects(Options.of(profile, {})))


def test_everything_is_valid_by_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    files = []
    for profile in Profile:
        for tls in (False, True):
            one = Options.of(profile, {"KRM_NAMESPACES": "a,b"} if tls else {}, redis_tls=tls)
            path = tmp_path / f"{profile}-{tls}.yaml"
            path.write_text(render.text([*render.objects(one), *passwords.objects(one)]))
            files.append(path)
    done = subprocess.run([validator(), "--strict", *files], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_valid_is_seen(tmp_path: Path) -> None:
    made = render.objects(Options.of(Profile.BASE, {}))
    deployment = next(o for o in made if o["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["securityContexts"] = {}
    (tmp_path / "bad.yaml").write_text(render.text([deployment]))
    done = subprocess.run(
        [validator(), "--strict", tmp_path / "bad.yaml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "securityContexts" in done.stdout + done.stderr
