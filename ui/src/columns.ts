// Which columns a list shows, what has to be asked for them, and how a value is shown.
import type { Json, Kind } from "./types";
import { since } from "./words";

export interface Column {
  path: string;
  label: string;
  isNumber?: boolean;
  isTime?: boolean;
}

const NAME: Column = { path: "metadata.name", label: "Name" };
const NAMESPACE: Column = { path: "metadata.namespace", label: "Namespace" };
const AGE: Column = { path: "metadata.creationTimestamp", label: "Age", isTime: true };

/** Beside name, namespace and age: the first ones are shown, the others can be chosen. */
const OWN: Record<string, Column[]> = {
  pods: [
    { path: "status.phase", label: "Phase" },
    { path: "spec.nodeName", label: "Node" },
    { path: "requests.cpu", label: "CPU", isNumber: true },
    { path: "requests.memory", label: "Memory", isNumber: true },
    { path: "requests.gpu", label: "GPU", isNumber: true },
    { path: "deployment.name", label: "Deployment" },
    { path: "status.podIP", label: "IP" },
    { path: "spec.containers[*].image", label: "Images" },
    { path: "status.containerStatuses[*].restartCount", label: "Restarts", isNumber: true },
  ],
  deployments: [
    { path: "spec.replicas", label: "Wanted", isNumber: true },
    { path: "status.readyReplicas", label: "Ready", isNumber: true },
    { path: "status.updatedReplicas", label: "Updated", isNumber: true },
    { path: "spec.template.spec.containers[*].image", label: "Images" },
  ],
  persistentvolumeclaims: [
    { path: "status.phase", label: "Phase" },
    { path: "spec.volumeName", label: "Volume" },
    { path: "spec.storageClassName", label: "Class" },
    { path: "spec.accessModes[*]", label: "Access" },
  ],
  services: [
    { path: "spec.type", label: "Type" },
    { path: "spec.clusterIP", label: "Cluster IP" },
    { path: "spec.ports[*].port", label: "Ports", isNumber: true },
  ],
  ingresses: [
    { path: "spec.ingressClassName", label: "Class" },
    { path: "spec.rules[*].host", label: "Hosts" },
  ],
  nodes: [
    { path: "spec.unschedulable", label: "Cordoned" },
    { path: "status.nodeInfo.kubeletVersion", label: "Version" },
    { path: "status.nodeInfo.osImage", label: "System" },
    { path: "spec.podCIDR", label: "Pod CIDR" },
  ],
};

const SHOWN: Record<string, number> = {
  pods: 4,
  deployments: 2,
  persistentvolumeclaims: 3,
  services: 3,
  ingresses: 2,
  nodes: 2,
};

/** Derived values that no object holds: what has to be asked for them. */
const DERIVED: Record<string, string> = {
  "requests.cpu": "requests { cpu }",
  "requests.memory": "requests { memory }",
  "requests.gpu": "requests { gpu }",
  "deployment.name": "deployment { metadata { name } }",
  "persistentVolumeClaims[*].name": "persistentVolumeClaims { metadata { name } }",
};
const READ_AT: Record<string, string> = {
  "deployment.name": "deployment.metadata.name",
  "persistentVolumeClaims[*].name": "persistentVolumeClaims[*].metadata.name",
};

export function known(kind: Kind): Column[] {
  return [...(kind.namespaced ? [NAMESPACE] : []), NAME, ...(OWN[kind.resource] ?? []), AGE];
}

export function usual(kind: Kind): Column[] {
  const own = OWN[kind.resource] ?? [];
  return [...(kind.namespaced ? [NAMESPACE] : []), NAME, ...own.slice(0, SHOWN[kind.resource] ?? 0), AGE];
}

/** The columns of these paths; a path that is not known shows itself. */
export function chosen(kind: Kind, paths: string[]): Column[] {
  const all = known(kind);
  return paths.map((path) => all.find((each) => each.path === path) ?? { path, label: path });
}

/** The selection of a list's rows: name and namespace always, since a row leads to its object. */
export function selection(kind: Kind, columns: Column[]): string {
  const declared = new Set(known(kind).map((each) => each.path));
  const parts = new Set(["metadata { name namespace creationTimestamp }"]);
  for (const { path } of columns) {
    const derived = DERIVED[path];
    if (derived) parts.add(derived);
    else if (!declared.has(path)) parts.add("object");
    else if (!path.startsWith("metadata.")) parts.add(nested(path));
  }
  return [...parts].join(" ");
}

function nested(path: string): string {
  const names = path.split(".").map((each) => each.replace("[*]", ""));
  return `${names.join(" { ")}${" }".repeat(names.length - 1)}`;
}

/** What a path means in a row: one value, or several where it names every element of a list. */
export function values(row: Json, path: string, kind: Kind): Json[] {
  const declared = known(kind).some((each) => each.path === path) || path in DERIVED;
  return read(declared ? row : member(row, "object"), READ_AT[path] ?? path);
}

function read(value: Json, path: string): Json[] {
  const steps = path.match(/\[(?:\*|\d+|'[^']*'|"[^"]*")\]|[^.[\]]+/g) ?? [];
  let found: Json[] = [value];
  for (const step of steps) {
    if (step === "[*]") found = found.flatMap((each) => (Array.isArray(each) ? each : []));
    else if (/^\[\d+\]$/.test(step))
      found = found.map((each) => (Array.isArray(each) ? (each[Number(step.slice(1, -1))] ?? null) : null));
    else found = found.map((each) => member(each, step.replace(/^\[['"]|['"]\]$/g, "")));
  }
  return found.filter((each) => each !== null);
}

export function member(value: Json | undefined, name: string): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  return value[name] ?? null;
}

export function shown(found: Json[], column: Column, nowMs: number): string {
  if (column.isTime && typeof found[0] === "string") return since(found[0], nowMs);
  return found.map((each) => (typeof each === "object" ? JSON.stringify(each) : String(each))).join(", ");
}
