"use strict";
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
  `# Pods that do not run; the ones that ask for most memory
# come first.
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
  `# How many pods run each image, and what do they ask for?
# Any path of the manifest filters, orders and groups.
query Images {
  pods(first: 5) {
    totalCount
    groupBy(paths: ["spec.containers[*].image"], first: 10) {
      values
      count
      sum(path: "requests.memory")
    }
    nodes {
      metadata { name namespace labels }
      spec { containers { name image resources { requests limits } } }
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
