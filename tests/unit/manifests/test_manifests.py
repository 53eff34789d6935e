"""The manifests: what is committed is what is made, and each object is as safe as it is said to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from krm import resources, settings
from krm.api.metrics import Metrics
from krm.errors import ConfigError
from krm.manifests import access, options, passwords, render
from krm.manifests.options import Options, Profile
from krm.manifests.pods import Object
from krm.table.freshness import State
from tests.sources import FilledSource, pod

ROOT: Final = Path(__file__).resolve().parents[3]
EVERY: Final = [Options.of(profile, {}, redis_tls=tls) for profile in Profile for tls in (False, True)]


def pods(one: Options) -> Iterator[tuple[str, Object]]:
    """(name, Pod's spec) of everything that runs."""
    for found in render.objects(one):
        if "template" in found.get("spec", {}):
            yield found["metadata"]["name"], found["spec"]["template"]["spec"]


def claims(one: Options) -> set[str]:
    """The volumes that claims bring."""
    sets = [o["spec"] for o in render.objects(one) if o["kind"] == "StatefulSet"]
    return {claim["metadata"]["name"] for spec in sets for claim in spec.get("volumeClaimTemplates", ())}


def test_committed_files_are_those_that_are_made() -> None:
    made = render.folders()
    folders = [ROOT / "deploy" / "base", ROOT / "deploy" / "overlays"]
    committed = {str(p.relative_to(ROOT / "deploy")): p.read_text() for f in folders for p in f.rglob("*.yaml")}
    assert committed == made, "make manifests"


def test_a_change_of_a_resource_shows_in_the_committed_files() -> None:
    fewer = render.folder(Options.of(Profile.BASE, {"KRM_RESOURCES": "pods"}))
    assert fewer["workers.yaml"] != (ROOT / "deploy/base/workers.yaml").read_text()


@pytest.mark.parametrize("profile", Profile)
def test_every_listed_file_is_there_and_every_file_is_listed(profile: Profile) -> None:
    files = render.folder(Options.of(profile, {}))
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert [*listed, "kustomization.yaml"] == [*[name for name in files if name in listed], "kustomization.yaml"]
    assert {*listed, "kustomization.yaml"} == set(files)


@pytest.mark.parametrize("profile", Profile)
def test_each_resource_has_its_workers_out_of_one_template(profile: Profile) -> None:
    made = yaml.safe_load_all(render.folder(Options.of(profile, {}))["workers.yaml"])
    by_name = {one["metadata"]["name"]: one for one in made}
    assert set(by_name) == {f"krm-{r.qualified.replace('.', '-')}" for r in resources.RESOURCES.values()}
    plain = set()
    for one in by_name.values():
        containers = one["spec"]["template"]["spec"]["containers"]
        assert [c["name"] for c in containers] == ["streamer", "verifier", "aggregator"]
        assert [c["args"][0] for c in containers] == ["stream", "verify", "aggregate"]
        name = one["metadata"]["labels"]["krm/resource"]
        plural = containers[0]["args"][2]
        assert resources.find(plural).qualified == name
        text = yaml.safe_dump(one).replace(one["metadata"]["name"], "NAME").replace(name, "KIND")
        plain.add(text.replace(f"- {plural}\n", "- KIND\n"))
    assert len(plain) == 1


@pytest.mark.parametrize("one", EVERY, ids=lambda o: f"{o.profile}{'-tls' if o.redis_tls else ''}")
def test_every_pod_is_restricted(one: Options) -> None:
    assert list(pods(one))
    for name, spec in pods(one):
        general = spec["securityContext"]
        assert general["runAsNonRoot"] is True, name
        assert general["runAsUser"] > 0
        assert general["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert all(set(v) & {"emptyDir", "secret", "configMap"} for v in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert "latest" not in container["image"]
            assert ":" in container["image"]
            assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in spec["volumes"]} | claims(one)
        assert spec["priorityClassName"] == "krm"


def test_the_token_is_mounted_where_it_is_used_alone() -> None:
    mounted = {name for name, spec in pods(Options.of(Profile.MONITORING, {})) if spec["automountServiceAccountToken"]}
    assert mounted == {"krm-api", *(f"krm-{r.qualified.replace('.', '-')}" for r in resources.RESOURCES.values())}
    for found in render.objects(Options.of(Profile.MONITORING, {})):
        if found["kind"] == "ServiceAccount":
            assert found["automountServiceAccountToken"] is False


def rights(one: Options) -> dict[str, list[str]]:
    """Every rule, by account: group/resource[name] verbs, with the namespace of a Role in front."""
    made = render.objects(one)
    roles = {(o["kind"], o["metadata"]["name"], o["metadata"].get("namespace")): o for o in made if "rules" in o}
    found: dict[str, list[str]] = {}
    for bound in (o for o in made if "roleRef" in o):
        namespace = bound["metadata"].get("namespace")
        role = roles[bound["roleRef"]["kind"], bound["roleRef"]["name"], namespace]
        for subject in bound["subjects"]:
            lines = found.setdefault(subject["name"], [])
            lines += [f"{namespace or '*'}: {line}" for rule in role["rules"] for line in spelled(rule)]
    return {name: sorted(lines) for name, lines in found.items()}


def spelled(rule: dict[str, Any]) -> Iterator[str]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for name in rule.get("resourceNames", [""]):
                yield f"{group or 'core'}/{resource}{f'[{name}]' if name else ''} {','.join(rule['verbs'])}"


LEASES: Final = [
    f"krm: coordination.k8s.io/leases[krm-{role}-{kind}] get,update"
    for role in ("aggregator", "streamer", "verifier")
    for kind in (
        *("deployments.apps", "ingresses.networking.k8s.io", "nodes", "persistentvolumeclaims", "pods", "services"),
    )
]
GOLDEN: Final = {
    "krm-workers": [
        "*: apps/deployments get,list,watch",
        "*: core/namespaces[kube-system] get",
        "*: core/nodes get,list,watch",
        "*: core/persistentvolumeclaims get,list,watch",
        "*: core/pods get,list,watch",
        "*: core/services get,list,watch",
        "*: networking.k8s.io/ingresses get,list,watch",
        "krm: coordination.k8s.io/leases create",
        *LEASES,
    ],
    "krm-api": [
        "*: authentication.k8s.io/tokenreviews create",
        "*: authorization.k8s.io/subjectaccessreviews create",
    ],
}


@pytest.mark.parametrize("profile", Profile)
def test_rights_are_those_of_the_golden_list(profile: Profile) -> None:
    assert rights(Options.of(profile, {})) == GOLDEN


def test_rights_follow_the_configured_resources_and_namespaces() -> None:
    some = Options.of(Profile.SMALL, {"KRM_RESOURCES": "pods,nodes", "KRM_NAMESPACES": "a,b"})
    assert rights(some)["krm-workers"] == [
        "*: core/namespaces[kube-system] get",
        "*: core/nodes get,list,watch",
        "a: core/pods get,list,watch",
        "b: core/pods get,list,watch",
        "krm: coordination.k8s.io/leases create",
        *[line for line in LEASES if "-nodes]" in line or "-pods]" in line],
    ]
    assert "namespace" not in yaml.safe_load(render.folder(some)["kustomization.yaml"])


def test_nobody_else_may_anything() -> None:
    every = {
        o["metadata"]["name"]
        for o in render.objects(Options.of(Profile.MONITORING, {}))
        if o["kind"] == "ServiceAccount"
    }
    assert every - set(GOLDEN) == {access.NOBODY, access.COLLECTOR}


@pytest.mark.parametrize("profile", Profile)
def test_nothing_may_be_talked_to_unless_it_is_said(profile: Profile) -> None:
    made = [o for o in render.objects(Options.of(profile, {})) if o["kind"] == "NetworkPolicy"]
    deny = made[0]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    callers = {
        (policy["metadata"]["name"], str(peer))
        for policy in made
        for rule in policy["spec"].get("ingress", [])
        for peer in rule.get("from", [{"everybody": True}])
    }
    # From other namespaces, the API alone.
    assert [name for name, peer in callers if "namespaceSelector" in peer or "everybody" in peer] == ["krm-api"]


def test_configuration_is_taken_from_the_environment_without_secrets() -> None:
    env = {"KRM_CLUSTER": "east", "KRM_REDIS_URL": "redis://:hush@h", "KRM_TOKEN": "hush", "KRM_VERIFY_INTERVAL": "1m"}
    one = Options.of(Profile.SMALL, env)
    assert one.configuration["KRM_CLUSTER"] == "east"
    assert one.configuration["KRM_VERIFY_INTERVAL"] == "1m"
    assert "hush" not in render.text(render.objects(one))
    assert set(options.PASSED) <= set(settings.variables())


def test_a_wrong_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="KRM_VERIFY_INTERVAL"):
        Options.of(Profile.SMALL, {"KRM_VERIFY_INTERVAL": "often"})


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.HA, Profile.MONITORING])
def test_every_secret_that_is_used_is_made_or_documented(profile: Profile) -> None:
    one = Options.of(profile, {}, redis_tls=True)
    made = {o["metadata"]["name"]: set(o["stringData"]) for o in passwords.objects(one)}
    page = (ROOT / "docs" / "operations.md").read_text()
    for _, spec in pods(one):
        for volume in spec["volumes"]:
            name = volume.get("secret", {}).get("secretName")
            assert name is None or name in made or f"`{name}`" in page, name
        for container in spec["containers"]:
            for variable in container.get("env", []):
                used = variable.get("valueFrom", {}).get("secretKeyRef")
                assert used is None or used["key"] in made[used["name"]]


def test_passwords_are_new_each_time_and_committed_nowhere() -> None:
    first, second = (render.text(passwords.objects(Options.of(Profile.HA, {}))) for _ in range(2))
    assert first != second
    kinds = {o["kind"] for p in Profile for o in render.objects(Options.of(p, {}))}
    assert "Secret" not in kinds


def test_the_example_in_the_documentation_is_what_is_made() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    shown = page.split("workers.yaml -->\n```yaml\n", 1)[1].split("```\n", 1)[0]
    made = render.folder(Options.of(Profile.SMALL, {"KRM_RESOURCES": "nodes"}))["workers.yaml"]
    assert shown == made.removeprefix(render.HEADER)


MEASURED: Final = {
    "streamer": "streamer",
    "verifier": "verifier",
    "aggregator": "aggregator",
    "api": "API, a process of one replica, not asked",
    "redis": "Redis",
}
"""The containers, and the rows of the table of sizes."""


def test_what_containers_ask_for_is_what_was_measured_with_room() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    measured = {}
    for line in page.split("## Sizes", 1)[1].split("\n## ", 1)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 2 and (found := re.fullmatch(r"(\d+) MiB, (\d+)m", cells[2])):
            measured[cells[0]] = (int(found[1]), int(found[2]))
    asked = {}
    for profile in (Profile.HA, Profile.MONITORING):
        for _, spec in pods(Options.of(profile, {})):
            for container in spec["containers"]:
                asked[container["name"]] = container["resources"]["requests"]
    for name, row in MEASURED.items():
        memory, cpu = measured[row]
        mebibytes = int(asked[name]["memory"].removesuffix("Mi").removesuffix("Gi"))
        mebibytes *= 1024 if asked[name]["memory"].endswith("Gi") else 1
        assert memory < mebibytes, name
        assert cpu <= int(asked[name]["cpu"].removesuffix("m")), name


# Alerts.

RULES: Final = yaml.safe_load((ROOT / "deploy/prometheus/krm.rules.yaml").read_text())["groups"][0]["rules"]


def exposed() -> dict[str, set[str]]:
    """Every metric that the API tells, with its labels."""
    source = FilledSource({"pods": [pod("a")]})
    told = Metrics(source)
    told.observe("/graphql", 200, 0.1)
    told.count_errors(["INTERNAL"])
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(told.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_are_about_metrics_that_there_are(rule: dict[str, Any]) -> None:
    found = exposed()
    names = re.findall(r"krm_\w+", rule["expr"])
    assert names
    assert set(names) <= set(found)
    used = re.findall(r"(\w+)=~?\"", rule["expr"]) + re.findall(r"labels\.(\w+)", rule["annotations"]["summary"])
    by = [word for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for word in group.split(", ")]
    assert {*used, *by} <= set.union(*(found[name] for name in names))
    states = re.findall(r'state=~?"([A-Z_|]+)"', rule["expr"])
    assert all(state in State.__members__ for group in states for state in group.split("|"))


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in RULES if f"`{rule['alert']}`" not in page] == []
