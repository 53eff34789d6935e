"""The questions that are measured."""

from __future__ import annotations

TEN = """{ pods { nodes {
  metadata { name namespace uid resourceVersion creationTimestamp }
  spec { nodeName serviceAccountName }
  status { phase podIP startTime }
} } }"""
FORTY = """{ pods { nodes {
  apiVersion kind
  metadata {
    name namespace uid resourceVersion creationTimestamp generateName labels annotations
    ownerReferences { apiVersion kind name uid controller }
  }
  spec {
    nodeName serviceAccountName schedulerName restartPolicy priority dnsPolicy
    containers {
      name image imagePullPolicy command args env { name value } ports { containerPort name protocol }
      resources { requests limits } volumeMounts { name mountPath readOnly }
    }
    volumes { name }
  }
  status {
    phase podIP hostIP startTime qosClass podIPs { ip }
    conditions { type status lastTransitionTime }
    containerStatuses { name ready restartCount image imageID containerID started }
  }
} } }"""
WHOLE = "{ pods { nodes { object } } }"
SMALL = """query One($namespace: String!, $name: String!) {
  pod(namespace: $namespace, name: $name) { metadata { name namespace } spec { nodeName } status { phase } }
}"""
NODE = "{ pods { nodes { metadata { name } node { metadata { name } } } } }"
MANY = """{ nodes { nodes { metadata { name }
  pods(where: {path: "status.phase", eq: "Running"}, first: 50) {
    metadata { name namespace } services { metadata { name } }
  }
} } }"""
