"use strict";
window.KRM_EXAMPLES = [
  `# How true are the answers, and as of when? Press the play button or Ctrl-Enter.
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
  `# Pods that do not run, the ones that ask for most memory first.
query PendingPods {
  pods(
    where: { path: "status.phase", ne: "Running" }
    orderBy: [{ path: "requests.memory", direction: DESC }]
    first: 20
  ) {
    totalCount
    freshness { state verifiedAgeSeconds }
    pageInfo { hasNextPage endCursor }
    nodes {
      metadata { namespace name creationTimestamp }
      spec { nodeName }
      status { phase reason podIP }
      requests { cpu memory gpu }
    }
  }
}
`,
  `# Which images run? Any path of the manifest can be selected, filtered and ordered by.
query Images {
  pods(first: 10, where: { path: "spec.containers[*].image", exists: true }) {
    totalCount
    nodes {
      metadata { name namespace labels }
      spec { containers { name image resources { requests limits } } }
    }
  }
}
`,
  `# Deployments with fewer ready replicas than wanted.
query Deployments {
  deployments(orderBy: [{ path: "status.readyReplicas" }], first: 20) {
    totalCount
    nodes {
      metadata { namespace name generation }
      spec { replicas strategy { type } }
      status { readyReplicas updatedReplicas unavailableReplicas }
    }
  }
}
`,
  `# Nodes, and one object whole, as the API server sent it.
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
