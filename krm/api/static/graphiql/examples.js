"use strict";
// The queries of docs/questions.md, and what they rest on.
window.KRM_EXAMPLES = [
  `# How true are the answers, and as of when?
# Press the play button or Ctrl-Enter.
query Freshness {
  freshness {
    resource
    state
    resourceVersion
    verifiedAt
    verifiedAgeSeconds
    streamLagSeconds
    contiguous
    missed { added modified deleted ghosts }
    reason
  }
}
`,
  `# Which pods run this image?
query PodsOfImage {
  pods(where: { path: "spec.containers[*].image", startsWith: "registry.example.com/proxy:" }, first: 100) {
    totalCount
    nodes {
      metadata { namespace name }
      spec { nodeName containers { name image } }
    }
  }
}
`,
  `# What is on this node?
query OnNode {
  node(name: "node-0007") {
    metadata { name }
    status { allocatable }
    pods {
      metadata { namespace name }
      status { phase }
      requests { cpu memory gpu }
    }
  }
}
`,
  `# What is pending, for how long, and why?
query Pending {
  pods(where: { path: "status.phase", eq: "Pending" }, orderBy: [{ path: "metadata.creationTimestamp" }]) {
    totalCount
    freshness { verifiedAt }
    nodes {
      metadata { namespace name creationTimestamp }
      status { conditions { type status reason message lastTransitionTime } }
      requests { cpu memory gpu }
    }
  }
}
`,
  `# Which claims does nobody mount?
query UnusedClaims {
  persistentVolumeClaims(where: { relation: "pods", none: {} }) {
    totalCount
    nodes {
      metadata { namespace name creationTimestamp }
      spec { storageClassName volumeName resources { requests } }
    }
  }
}
`,
  `# Which services have no pods?
query ServicesWithoutPods {
  services(where: { path: "spec.selector", exists: true, relation: "pods", none: {} }) {
    totalCount
    nodes {
      metadata { namespace name }
      spec { type selector }
      ingresses { metadata { name } }
    }
  }
}
`,
  `# Which pods does nothing manage?
query Unowned {
  pods(where: { relation: "owners", none: {} }) {
    totalCount
    nodes {
      metadata { namespace name creationTimestamp }
      spec { nodeName }
    }
  }
}
`,
  `# What requests the most GPUs?
query MostGpus {
  pods(where: { path: "requests.gpu", gt: 0 }, orderBy: [{ path: "requests.gpu", direction: DESC }], first: 20) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes {
      metadata { namespace name }
      requests { gpu cpu memory }
      deployment { metadata { name } }
    }
  }
}
`,
  `# How much CPU, memory and GPU is requested on each node?
query RequestedPerNode {
  pods {
    groupBy(paths: ["spec.nodeName"], orderBy: { by: "sum(requests.cpu)" }) {
      values
      count
      cpu: sum(path: "requests.cpu")
      memory: sum(path: "requests.memory")
      gpu: sum(path: "requests.gpu")
    }
  }
}
`,
  `# How many pods are in each phase, by namespace?
query PodsPerPhase {
  pods {
    totalCount
    groupBy(paths: ["metadata.namespace", "status.phase"], orderBy: { by: "metadata.namespace", direction: ASC }) {
      values
      count
    }
  }
}
`,
  `# Which is the oldest pod of each deployment?
query OldestPods {
  pods(where: { path: "deployment.name", exists: true }) {
    groupBy(
      paths: ["metadata.namespace", "deployment.name"]
      orderBy: { by: "min(metadata.creationTimestamp)", direction: ASC }
    ) {
      values
      count
      oldest: min(path: "metadata.creationTimestamp")
      newest: max(path: "metadata.creationTimestamp")
    }
  }
}
`,
  `# Which images run, and how often?
query Images {
  pods {
    groupBy(paths: ["spec.containers[*].image"], first: 20) {
      values
      count
      memory: sum(path: "requests.memory")
    }
  }
}
`,
  `# Which deployments are not complete?
query IncompleteDeployments {
  deployments(
    where: { or: [{ path: "status.unavailableReplicas", gt: 0 }, { path: "status.readyReplicas", exists: false }] }
  ) {
    totalCount
    nodes {
      metadata { namespace name generation }
      spec { replicas }
      status { readyReplicas updatedReplicas unavailableReplicas observedGeneration }
      pods(where: { path: "status.phase", ne: "Running" }) { metadata { name } status { phase } }
    }
  }
}
`,
  `# What changed in the last minute?
query LastMinute {
  changes(resource: "pods", since: "1m", first: 100) {
    totalCount
    completeSince
    nodes {
      at
      type
      namespace
      name
      resourceVersion
    }
  }
}
`,
  `# Deployments, the ones with fewest ready replicas first,
# with their pods and the nodes these run on.
query Deployments {
  deployments(orderBy: [{ path: "status.readyReplicas" }], first: 20) {
    totalCount
    nodes {
      metadata { namespace name generation }
      spec { replicas strategy { type } }
      status { readyReplicas updatedReplicas unavailableReplicas }
      pods(first: 3) { metadata { name } node { metadata { name } } }
    }
  }
}
`,
  `# Nodes, and one object whole, as the API server sent it.
# To see changes as they come:
#   subscription { pods { type object { metadata { name } } } }
query NodesAndOneWhole {
  nodes {
    totalCount
    nodes {
      metadata { name }
      status { capacity allocatable nodeInfo { kubeletVersion } }
    }
  }
  services(first: 1) {
    nodes { object }
  }
}
`,
];
