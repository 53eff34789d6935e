// One object: its manifest, those that it is related to, and what changed of it lately.
import hljs from "highlight.js/lib/core";
import yamlLanguage from "highlight.js/lib/languages/yaml";
import diff from "microdiff";
import { useMemo } from "preact/hooks";
import { stringify } from "yaml";
import { args, literal } from "./api";
import { member } from "./columns";
import { Graph, type Box, type Edge } from "./graph";
import { Question, useAnswer } from "./query";
import { listLink, objectLink } from "./route";
import type { Json, Kind } from "./types";
import { since } from "./words";

hljs.registerLanguage("yaml", yamlLanguage);

const NEIGHBOURS = 12;
const CHANGES = 20;
/** Relations that point at the object, drawn before it; the others come after it. */
const BEFORE = new Set(["deployment", "services", "ingresses", "owners"]);

interface Named {
  metadata: { namespace: string | null; name: string };
}
type Found = Record<string, Json | Named | Named[] | { kind: string; name: string }[] | null>;

interface Answer {
  one: (Found & { object: Json }) | null;
  changes: {
    completeSince: string | null;
    nodes: { at: string; type: string; uid: string; resourceVersion: string; object: Json; previous: Json }[];
  } | null;
}

interface Props {
  kind: Kind;
  kinds: Kind[];
  namespace: string;
  name: string;
  version: string;
  nowMs: number;
  unauthenticated: () => void;
}

export function ObjectView({ kind, kinds, namespace, name, version, nowMs, unauthenticated }: Props) {
  const query = objectQuery(kind, namespace, name);
  const { data, problem, isLoading } = useAnswer<Answer>(query, version, unauthenticated);
  const one = data?.one ?? null;
  const changes = data?.changes ?? null;
  return (
    <>
      <p class="trail">
        <a href={listLink(kind.resource)}>{kind.resource}</a>
        {namespace && (
          <>
            {" / "}
            <a href={listLink(kind.resource, { namespace })}>{namespace}</a>
          </>
        )}
      </p>
      <h1 tabIndex={-1}>{name}</h1>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {one === null && (
        <p role="status" aria-busy={isLoading}>
          {isLoading ? "Asking …" : problem ? "No answer." : `There is no ${kind.kind} of this name now.`}
        </p>
      )}
      {one !== null && <Relations kind={kind} kinds={kinds} namespace={namespace} name={name} found={one} />}
      {changes !== null && <Changes changes={changes} nowMs={nowMs} />}
      {one !== null && <Manifest object={one.object} />}
      <Question query={query} />
    </>
  );
}

function objectQuery(kind: Kind, namespace: string, name: string): string {
  const relations = kind.relations.map(
    (each) => `${each.name}${each.isSingle ? "" : `(first: ${NEIGHBOURS + 1})`} { metadata { namespace name } }`,
  );
  if (kind.resource === "pods") relations.push("owners { kind name }");
  const where = literal({ path: "metadata.name", eq: name });
  const changed = args({
    resource: literal(kind.resource),
    since: literal("15m"),
    namespace: namespace ? literal(namespace) : undefined,
    where,
    first: String(CHANGES),
  });
  return `{
  one: ${kind.singleField}${args({ namespace: kind.namespaced ? literal(namespace) : undefined, name: literal(name) })} {
    object
    ${relations.join("\n    ")}
  }
  changes${changed} {
    completeSince
    nodes { at type uid resourceVersion object previous }
  }
}`;
}

function Relations({
  kind,
  kinds,
  namespace,
  name,
  found,
}: {
  kind: Kind;
  kinds: Kind[];
  namespace: string;
  name: string;
  found: Found;
}) {
  // Only the names count, so that a picture is drawn anew when they change and not with every event.
  const { object: _, ...names } = found;
  const key = JSON.stringify(names);
  const { boxes, edges, center } = useMemo(() => neighbourhood(kind, kinds, namespace, name, found), [key]);
  if (boxes.length < 2) return null;
  return (
    <section aria-labelledby="relations">
      <h2 id="relations">Relations</h2>
      <Graph boxes={boxes} edges={edges} center={center} />
    </section>
  );
}

function neighbourhood(kind: Kind, kinds: Kind[], namespace: string, name: string, found: Found) {
  const center = `${kind.resource} ${namespace} ${name}`;
  const boxes: Box[] = [{ id: center, kind: kind.kind, name, link: null }];
  const edges: Edge[] = [];
  const connect = (relation: string, id: string) =>
    edges.push(
      BEFORE.has(relation) ? { from: id, to: center, label: relation } : { from: center, to: id, label: relation },
    );
  for (const relation of kind.relations) {
    const target = kinds.find((each) => each.resource === relation.target);
    const value = found[relation.name] as Named | Named[] | null | undefined;
    const all = Array.isArray(value) ? value : value ? [value] : [];
    for (const { metadata } of all.slice(0, NEIGHBOURS)) {
      const id = `${relation.target} ${metadata.namespace ?? ""} ${metadata.name}`;
      const link = objectLink(relation.target, metadata.namespace ?? "", metadata.name);
      if (!boxes.some((each) => each.id === id))
        boxes.push({ id, kind: target?.kind ?? relation.target, name: metadata.name, link });
      connect(relation.name, id);
    }
    if (all.length > NEIGHBOURS) {
      const id = `more ${relation.name}`;
      boxes.push({
        id,
        kind: relation.target,
        name: "and more",
        link: listLink(relation.target, namespace ? { namespace } : {}),
      });
      connect(relation.name, id);
    }
  }
  const owners = (found.owners ?? []) as { kind: string; name: string }[];
  for (const owner of owners) {
    const id = `owner ${owner.kind} ${owner.name}`;
    const target = kinds.find((each) => each.kind === owner.kind);
    boxes.push({
      id,
      kind: owner.kind,
      name: owner.name,
      link: target ? objectLink(target.resource, namespace, owner.name) : null,
    });
    connect("owners", id);
  }
  return { boxes, edges, center };
}

function Changes({ changes, nowMs }: { changes: NonNullable<Answer["changes"]>; nowMs: number }) {
  return (
    <section aria-labelledby="changes">
      <h2 id="changes">Changes of the last 15 minutes</h2>
      {changes.nodes.length === 0 ? (
        <p>None{changes.completeSince ? ` since ${since(changes.completeSince, nowMs)} ago` : ""}.</p>
      ) : (
        <div class="wide" tabIndex={0} role="group" aria-label="Changes">
          <table>
            <caption class="unseen">Changes, newest last</caption>
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">What</th>
                <th scope="col">Where</th>
              </tr>
            </thead>
            <tbody>
              {changes.nodes.map((each) => (
                <tr key={`${each.uid} ${each.resourceVersion} ${each.type}`}>
                  <td title={each.at}>{since(each.at, nowMs)} ago</td>
                  <td>{each.type.toLowerCase()}</td>
                  <td>{differences(each.previous, each.object).join(", ")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** The paths in which two states differ, the version apart, which always does. */
function differences(before: Json, after: Json): string[] {
  if (member(before, "metadata") === null || member(after, "metadata") === null) return [];
  const paths = diff(before as Record<string, unknown>, after as Record<string, unknown>)
    .map((each) =>
      each.path
        .map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`))
        .join("")
        .slice(1),
    )
    .filter((path) => path !== "metadata.resourceVersion");
  return paths.length > 6 ? [...paths.slice(0, 6), `and ${paths.length - 6} more`] : paths;
}

function Manifest({ object }: { object: Json }) {
  const { text, marked } = useMemo(() => {
    const text = stringify(object, { lineWidth: 0 });
    return { text, marked: hljs.highlight(text, { language: "yaml" }).value };
  }, [JSON.stringify(object)]);
  return (
    <section aria-labelledby="manifest">
      <h2 id="manifest">Manifest</h2>
      <button type="button" class="secondary copy" onClick={() => void navigator.clipboard.writeText(text)}>
        Copy
      </button>
      <pre class="yaml" tabIndex={0} aria-label="Manifest as YAML">
        {/* highlight.js escapes what it is given. */}
        <code dangerouslySetInnerHTML={{ __html: marked }} />
      </pre>
    </section>
  );
}
