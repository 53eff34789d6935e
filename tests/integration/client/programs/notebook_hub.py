"""A notebook hub: starts and stops users' pods, and knows their state from a reflector that lists and then watches.

Written as such hubs are: the list is read as raw JSON, the watch goes on from its version and ends after a while, and
then it begins anew. Commands come on stdin, answers are lines of JSON on stdout.
"""

# mypy: ignore-errors

import json
import sys
import threading
import time

from kubernetes import client, config, watch
from urllib3.exceptions import ReadTimeoutError

LABELS = "component=singleuser-server"


class Reflector(threading.Thread):
    def __init__(self, api, namespace):
        super().__init__(daemon=True)
        self.api, self.namespace = api, namespace
        self.pods = {}
        self.story = {}
        self.loaded = threading.Event()
        self.stopping = threading.Event()

    def load(self):
        answer = self.api.list_namespaced_pod(
            self.namespace, label_selector=LABELS, _request_timeout=(5, 30), _preload_content=False
        )
        listed = json.loads(answer.read())
        self.pods = {pod["metadata"]["name"]: pod for pod in listed["items"]}
        for pod in self.pods.values():
            self.tell(pod)
        self.loaded.set()
        return listed["metadata"]["resourceVersion"]

    def tell(self, pod, gone=False):
        chapters = self.story.setdefault(pod["metadata"]["name"], [])
        chapter = "gone" if gone else pod["status"].get("phase")
        if chapters[-1:] != [chapter]:
            chapters.append(chapter)

    def run(self):
        delay = 0.1
        while not self.stopping.is_set():
            stream = watch.Watch()
            try:
                version = self.load()
                for event in stream.stream(
                    self.api.list_namespaced_pod,
                    namespace=self.namespace,
                    label_selector=LABELS,
                    resource_version=version,
                    timeout_seconds=2,
                    _request_timeout=(5, 30),
                ):
                    delay = 0.1
                    pod = event["raw_object"]
                    assert event["object"].metadata.name == pod["metadata"]["name"]
                    if event["type"] == "DELETED":
                        self.pods.pop(pod["metadata"]["name"], None)
                    else:
                        self.pods[pod["metadata"]["name"]] = pod
                    self.tell(pod, gone=event["type"] == "DELETED")
                    if self.stopping.is_set():
                        break
            except ReadTimeoutError:
                continue
            except Exception as error:  # noqa: BLE001 (as such programs do)
                print(f"reflector: {error!r}", file=sys.stderr)
                time.sleep(delay)
                delay = min(delay * 2, 5)
            finally:
                stream.stop()


def manifest(user):
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=f"jupyter-{user}", labels={"component": "singleuser-server", "user": user}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="notebook", image="notebook:1")]),
    )


def until(condition, deadline_s=60):
    ends = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(condition)
        time.sleep(0.02)


def main(kubeconfig, namespace):
    config.load_kube_config(kubeconfig)
    api = client.CoreV1Api()
    reflector = Reflector(api, namespace)
    reflector.start()
    reflector.loaded.wait(30)
    for line in sys.stdin:
        command, _, user = line.strip().partition(" ")
        name = f"jupyter-{user}"
        if command == "start":
            api.create_namespaced_pod(namespace, manifest(user))
            until(lambda name=name: reflector.pods.get(name, {}).get("status", {}).get("phase") == "Running")
            answer = {"up": name, "ip": reflector.pods[name]["status"].get("podIP")}
        elif command == "stop":
            api.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
            until(lambda name=name: name not in reflector.pods)
            answer = {"down": name}
        else:
            answer = {"story": reflector.story, "there": sorted(reflector.pods)}
        print(json.dumps(answer), flush=True)
    reflector.stopping.set()


main(*sys.argv[1:])
