// The objects of a kind: filtered, sorted and paged by the API, never all of them.
import { useEffect, useRef, useState } from "preact/hooks";
import { args, literal } from "./api";
import { chosen, known, selection, shown, usual, values, type Column } from "./columns";
import { both, containing, parse, type Filter } from "./filters";
import { Question, useAnswer } from "./query";
import { listLink, objectLink } from "./route";
import type { Json, Kind } from "./types";
import { count, seconds, stateName } from "./words";

const PAGE = 50;

interface Page {
  list: {
    totalCount: number;
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
    scope: { complete: boolean; namespaces: string[] | null };
    freshness: { state: string; verifiedAgeSeconds: number | null };
    nodes: Json[];
  } | null;
}

interface Props {
  kind: Kind;
  search: URLSearchParams;
  /** Changes whenever the table may have. */
  version: string;
  nowMs: number;
  unauthenticated: () => void;
}

export function List({ kind, search, version, nowMs, unauthenticated }: Props) {
  const text = (name: string) => search.get(name) ?? "";
  const columns = text("columns") ? chosen(kind, text("columns").split(",")) : usual(kind);
  const go = (changes: Record<string, string | undefined>, keepsPage = false) => {
    const next = new URLSearchParams(search);
    if (!keepsPage) for (const name of ["after", "before"]) next.delete(name);
    for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
    location.hash = listLink(kind.resource, next);
  };

  let filter: Filter | undefined;
  let mistake: string | null = null;
  try {
    const paths =
      kind.resource === "pods" ? ["metadata.name", "spec.nodeName", "spec.containers[*].image"] : ["metadata.name"];
    filter = both(containing(text("text"), paths), parse(text("where")));
  } catch (error) {
    mistake = error instanceof Error ? error.message : String(error);
  }
  const sort = text("sort");
  const query = mistake === null ? listQuery(kind, columns, filter, sort, text) : null;
  const turn = useCalm(version, 2_000);
  const { data, problem, isLoading } = useAnswer<Page>(query, turn, unauthenticated);
  const list = data?.list ?? null;
  const before = text("before") ? text("before").split(",") : [];

  return (
    <>
      <h1 tabIndex={-1}>{kind.resource}</h1>
      <Controls kind={kind} search={search} columns={columns} go={go} />
      {(mistake ?? problem) && (
        <p class="problem" role="alert">
          {mistake ?? problem}
        </p>
      )}
      <p class="summary" role="status" aria-busy={isLoading && list === null}>
        {list === null
          ? mistake || problem
            ? "No answer."
            : "Asking …"
          : `${count(list.totalCount)} ${list.totalCount === 1 ? kind.kind : kind.resource}, ${stateName(list.freshness.state)}, verified ${seconds(list.freshness.verifiedAgeSeconds)} ago${list.scope.complete ? "" : `; only of the namespaces that you may list: ${(list.scope.namespaces ?? []).join(", ")}`}`}
      </p>
      {list !== null && (
        <Rows
          kind={kind}
          columns={columns}
          rows={list.nodes}
          sort={sort}
          nowMs={nowMs}
          sortBy={(path) => go({ sort: sort === path ? `-${path}` : path })}
        />
      )}
      {list !== null && (
        <nav class="pages" aria-label="Pages">
          <button
            type="button"
            class="secondary"
            disabled={before.length === 0}
            onClick={() =>
              go(
                { after: before.at(-1) === "-" ? undefined : before.at(-1), before: before.slice(0, -1).join(",") },
                true,
              )
            }
          >
            Previous
          </button>
          <button
            type="button"
            class="secondary"
            disabled={!list.pageInfo.hasNextPage}
            onClick={() =>
              go(
                { after: list.pageInfo.endCursor ?? undefined, before: [...before, text("after") || "-"].join(",") },
                true,
              )
            }
          >
            Next
          </button>
        </nav>
      )}
      {query !== null && <Question query={query} />}
    </>
  );
}

function listQuery(
  kind: Kind,
  columns: Column[],
  filter: Filter | undefined,
  sort: string,
  text: (name: string) => string,
): string {
  const order = sort
    ? `[{path: ${literal(sort.replace(/^-/, ""))}, direction: ${sort.startsWith("-") ? "DESC" : "ASC"}}]`
    : undefined;
  const given = (name: string) => (text(name) ? literal(text(name)) : undefined);
  const asked = args({
    namespace: kind.namespaced ? given("namespace") : undefined,
    labelSelector: given("labels"),
    where: filter && literal(filter),
    orderBy: order,
    first: String(PAGE),
    after: given("after"),
  });
  return `{
  list: ${kind.listField}${asked} {
    totalCount
    pageInfo { hasNextPage endCursor }
    scope { complete namespaces }
    freshness { state verifiedAgeSeconds }
    nodes { ${selection(kind, columns)} }
  }
}`;
}

/** `value`, but not more often than every `ms`, and not while the page is hidden. */
function useCalm(value: string, ms: number): string {
  const [calm, setCalm] = useState(value);
  const newest = useRef(value);
  newest.current = value;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setCalm(newest.current);
    }, ms);
    return () => clearInterval(timer);
  }, [ms]);
  return calm;
}

interface ControlsProps {
  kind: Kind;
  search: URLSearchParams;
  columns: Column[];
  go: (changes: Record<string, string | undefined>) => void;
}

function Controls({ kind, search, columns, go }: ControlsProps) {
  const field = (name: string) => search.get(name) ?? "";
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const value = (name: string) => String(form.get(name) ?? "").trim();
    go({ namespace: value("namespace"), labels: value("labels"), text: value("text"), where: value("where") });
  };
  return (
    <search>
      <form class="controls" onSubmit={submit} key={search.toString()}>
        <div class="fields">
          <label>
            Search
            <input type="search" name="text" id="search" defaultValue={field("text")} placeholder="part of a name" />
          </label>
          {kind.namespaced && (
            <label>
              Namespace
              <input name="namespace" defaultValue={field("namespace")} placeholder="all" spellcheck={false} />
            </label>
          )}
          <label>
            Labels
            <input
              name="labels"
              defaultValue={field("labels")}
              placeholder="app=web,tier in (a,b)"
              spellcheck={false}
            />
          </label>
          <label class="broad">
            Where
            <input
              name="where"
              defaultValue={field("where")}
              placeholder="status.phase != Running and requests.cpu > 1"
              spellcheck={false}
            />
          </label>
          <button type="submit">Show</button>
        </div>
        <Chooser kind={kind} columns={columns} go={go} />
      </form>
    </search>
  );
}

function Chooser({ kind, columns, go }: Omit<ControlsProps, "search">) {
  const paths = columns.map((each) => each.path);
  const extra = columns.filter((each) => !known(kind).some((one) => one.path === each.path));
  const add = (event: KeyboardEvent) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const path = (event.currentTarget as HTMLInputElement).value.trim();
    if (path && !paths.includes(path)) go({ columns: [...paths, path].join(",") });
  };
  const toggle = (path: string) => {
    const next = paths.includes(path) ? paths.filter((each) => each !== path) : [...paths, path];
    go({ columns: next.join(",") });
  };
  return (
    <details class="columns">
      <summary>Columns</summary>
      <fieldset>
        <legend class="unseen">Columns to show</legend>
        {[...known(kind), ...extra].map((each) => (
          <label key={each.path}>
            <input
              type="checkbox"
              checked={paths.includes(each.path)}
              onChange={() => toggle(each.path)}
              disabled={each.path === "metadata.name"}
            />
            {each.label}
          </label>
        ))}
        <input
          aria-label="Another path"
          placeholder="any path, then Enter: metadata.labels['app']"
          onKeyDown={add}
          spellcheck={false}
        />
      </fieldset>
    </details>
  );
}

interface RowsProps {
  kind: Kind;
  columns: Column[];
  rows: Json[];
  sort: string;
  nowMs: number;
  sortBy: (path: string) => void;
}

function Rows({ kind, columns, rows, sort, nowMs, sortBy }: RowsProps) {
  const direction = (path: string) => (sort === path ? "ascending" : sort === `-${path}` ? "descending" : "none");
  return (
    <div class="wide">
      <table class="rows">
        <caption class="unseen">{kind.resource}</caption>
        <thead>
          <tr>
            {columns.map((each) => (
              <th
                key={each.path}
                scope="col"
                aria-sort={direction(each.path)}
                class={each.isNumber ? "number" : undefined}
              >
                <button type="button" class="plain" onClick={() => sortBy(each.path)} title={`sort by ${each.path}`}>
                  {each.label}
                  <span aria-hidden="true">
                    {{ ascending: " ↑", descending: " ↓", none: "" }[direction(each.path)]}
                  </span>
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const name = String(values(row, "metadata.name", kind)[0] ?? "");
            const namespace = String(values(row, "metadata.namespace", kind)[0] ?? "");
            return (
              <tr key={`${namespace}/${name}`}>
                {columns.map((each) => (
                  <td key={each.path} class={each.isNumber ? "number" : undefined}>
                    {each.path === "metadata.name" ? (
                      <a href={objectLink(kind.resource, namespace, name)}>{name}</a>
                    ) : (
                      shown(values(row, each.path, kind), each, nowMs)
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
          {rows.length === 0 && (
            <tr>
              <td colSpan={columns.length}>Nothing matches.</td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
