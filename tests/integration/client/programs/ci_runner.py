"""A CI runner: one build pod whose status is read again and again until it runs, until it ends, until it is gone."""

# mypy: ignore-errors

import json
import sys
import time

from kubernetes import client, config, watch  # noqa: F401 (as such programs import them)


def poll(api, name, namespace, done, history):
    while True:
        try:
            pod = api.read_namespaced_pod(name, namespace, _request_timeout=10)
        except client.ApiException as error:
            if error.status != 404:
                raise
            pod = None
        phase = pod.status.phase if pod else "gone"
        if history[-1:] != [phase]:
            history.append(phase)
        if done(pod):
            return pod
        time.sleep(0.05)


def is_ready(pod):
    conditions = {one.type: one.status for one in pod.status.conditions or []}
    return pod.status.phase in ("Succeeded", "Failed") or conditions.get("Ready") == "True"


def main(kubeconfig, namespace):
    config.load_kube_config(config_file=kubeconfig)
    api = client.CoreV1Api()
    history = []
    container = client.V1Container(name="build", image="build:1", command=["make"])
    pod = client.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=client.V1ObjectMeta(generate_name="runner-", annotations={"exit-code": "2"}),
        spec=client.V1PodSpec(containers=[container], restart_policy="Never"),
    )
    created = api.create_namespaced_pod(namespace, pod)
    name = created.metadata.name
    assert api.read_namespaced_pod(name, namespace).metadata.uid == created.metadata.uid
    running = poll(api, name, namespace, is_ready, history)
    assert running.metadata.uid == created.metadata.uid
    ended = poll(api, name, namespace, lambda one: one.status.phase in ("Succeeded", "Failed"), history)
    code = ended.status.container_statuses[0].state.terminated.exit_code
    api.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    try:
        api.read_namespaced_pod(name, namespace)
    except client.ApiException as error:
        history.append(error.status)
    print(
        json.dumps({"code": code, "history": [one for one in history if one not in ("Pending", "Running")]}), flush=True
    )


main(*sys.argv[1:])
