// Where one is, in the part of the address behind "#": it can be shared, and no server log sees it.
import { useEffect, useState } from "preact/hooks";

export type Route =
  | { view: "overview" }
  | { view: "list"; resource: string; search: URLSearchParams }
  | { view: "object"; resource: string; namespace: string; name: string };

export function parse(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [resource = "", ...rest] = path.split("/").map(decodeURIComponent);
  if (!resource) return { view: "overview" };
  if (rest.length === 0) return { view: "list", resource, search: new URLSearchParams(search) };
  const name = rest.pop() ?? "";
  return { view: "object", resource, namespace: rest[0] ?? "", name };
}

export function listLink(resource: string, search: Record<string, string | undefined> | URLSearchParams = {}): string {
  const given = search instanceof URLSearchParams ? [...search] : Object.entries(search);
  const kept = given.filter((each): each is [string, string] => Boolean(each[1]));
  const text = new URLSearchParams(kept).toString();
  return `#/${encodeURIComponent(resource)}${text ? `?${text}` : ""}`;
}

export function objectLink(resource: string, namespace: string, name: string): string {
  const parts = namespace ? [resource, namespace, name] : [resource, name];
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parse(hash);
}
