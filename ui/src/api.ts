// What the page asks of the API: GraphQL answers and the stream of its own standing. The token lives in this variable
// and nowhere else: no storage, no cookie, no address.
import { createParser } from "eventsource-parser";
import type { Kind, Now, Point, Start } from "./types";

let token = "";

export class Unauthenticated extends Error {}

/** A refusal or an error of the API, in its words. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

export function signIn(given: string): void {
  token = given.trim();
}

export function isSignedIn(): boolean {
  return token !== "";
}

function headers(): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

interface GraphQLError {
  message: string;
  extensions?: { code?: string };
}

/** The data of an answer, which may be a part of what was asked: what failed is told beside it. */
export async function ask<T>(query: string, signal?: AbortSignal): Promise<{ data: T; errors: GraphQLError[] }> {
  const response = await fetch("graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify({ query }),
    credentials: "omit",
    signal: signal ?? null,
  });
  if (response.status === 401) throw new Unauthenticated();
  const answer = (await response.json()) as { data?: T; errors?: GraphQLError[] };
  const errors = answer.errors ?? [];
  if (answer.data == null) {
    const first = errors[0];
    throw new Refused(first?.message ?? `HTTP ${response.status}`, first?.extensions?.code ?? "");
  }
  return { data: answer.data, errors };
}

export interface Watcher {
  start(start: Start): void;
  now(now: Now): void;
  point(point: Point): void;
  /** The stream broke; it is opened again by itself. */
  lost(reason: string): void;
  unauthenticated(): void;
}

const SILENCE_MS = 10_000;

/** Follows the API's standing until `signal` ends it; opens a broken stream again, ever more patiently. */
export async function watch(watcher: Watcher, signal: AbortSignal): Promise<void> {
  let patience = 500;
  while (!signal.aborted) {
    try {
      await follow(watcher, signal, () => {
        patience = 500;
      });
      if (!signal.aborted) watcher.lost("the API ended the connection");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Unauthenticated) {
        watcher.unauthenticated();
        return;
      }
      watcher.lost(error instanceof Refused ? error.message : "the API cannot be reached");
    }
    await new Promise((resolve) => setTimeout(resolve, patience * (0.75 + Math.random() / 2)));
    patience = Math.min(patience * 2, 10_000);
  }
}

async function follow(watcher: Watcher, signal: AbortSignal, healthy: () => void): Promise<void> {
  const silence = new AbortController();
  const response = await fetch("overview", {
    headers: { Accept: "text/event-stream", ...headers() },
    credentials: "omit",
    signal: AbortSignal.any([signal, silence.signal]),
  });
  if (response.status === 401) throw new Unauthenticated();
  if (!response.ok || !response.body) throw new Refused(`the API answers HTTP ${response.status}`, "");
  const parser = createParser({
    onEvent(event) {
      const data: unknown = JSON.parse(event.data);
      if (event.event === "start") watcher.start(data as Start);
      else if (event.event === "now") watcher.now(data as Now);
      else if (event.event === "point") watcher.point(data as Point);
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      healthy();
      parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Text, number, list or object as GraphQL writes it in a document. */
export function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const members = Object.entries(value).filter(([, each]) => each !== undefined);
    return `{${members.map(([name, each]) => `${name}: ${literal(each)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Arguments in parentheses; those that are undefined are left out. */
export function args(given: Record<string, string | undefined>): string {
  const parts = Object.entries(given).flatMap(([name, text]) => (text === undefined ? [] : [`${name}: ${text}`]));
  return parts.length ? `(${parts.join(", ")})` : "";
}

export function graphiql(query: string): string {
  return `graphql#query=${encodeURIComponent(query)}`;
}

export type { Kind };
