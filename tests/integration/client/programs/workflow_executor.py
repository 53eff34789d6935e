"""A workflow executor: one pod a task, polled in pages until each has ended, then marked, forgotten and deleted."""

# mypy: ignore-errors

import json
import sys
import time

from kubernetes import client, config, watch  # noqa: F401 (as such programs import them)

TASKS = {"extract": 0, "transform": 3, "load": 0, "report": 0, "clean": 1}


def manifest(task, code):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"flow-{task}",
            "labels": {"executor": "flow", "task": task},
            "annotations": {"exit-code": str(code)},
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "task:1"}]},
    }


def pages(api, namespace, selector):
    token, versions = None, set()
    while True:
        page = api.list_namespaced_pod(namespace, label_selector=selector, limit=2, _continue=token)
        versions.add(page.metadata.resource_version)
        yield from page.items
        token = page.metadata._continue
        if not token:
            assert len(versions) == 1, versions
            return


def main(kubeconfig, namespace):
    config.load_kube_config(config_file=kubeconfig)
    api = client.CoreV1Api()
    for task, code in TASKS.items():
        api.create_namespaced_pod(namespace=namespace, body=manifest(task, code))
        # What was just made must be there.
        mine = api.list_namespaced_pod(namespace, label_selector=f"executor=flow,task={task}").items
        assert [pod.metadata.name for pod in mine] == [f"flow-{task}"], mine
    outcomes = {}
    while len(outcomes) < len(TASKS):
        for pod in list(pages(api, namespace, "executor=flow,!processed")):
            task = pod.metadata.labels["task"]
            if pod.status.phase not in ("Succeeded", "Failed"):
                continue
            assert task not in outcomes, f"{task} came back after it was marked"
            code = pod.status.container_statuses[0].state.terminated.exit_code
            outcomes[task] = [pod.status.phase, code]
            api.patch_namespaced_pod(pod.metadata.name, namespace, {"metadata": {"labels": {"processed": "true"}}})
            left = api.list_namespaced_pod(namespace, label_selector="executor=flow,!processed").items
            assert pod.metadata.name not in [one.metadata.name for one in left]
        time.sleep(0.05)
    for task in TASKS:
        api.delete_namespaced_pod(f"flow-{task}", namespace, body=client.V1DeleteOptions(grace_period_seconds=0))
    assert api.list_namespaced_pod(namespace, label_selector="executor=flow").items == []
    print(json.dumps(outcomes), flush=True)


main(*sys.argv[1:])
