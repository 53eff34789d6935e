// The question behind a view, to be read, taken along, and asked in GraphiQL.
import { useEffect, useState } from "preact/hooks";
import { ask, graphiql, Refused, Unauthenticated } from "./api";

export function Question({ query }: { query: string }) {
  return (
    <details class="question">
      <summary>The GraphQL query behind this</summary>
      <pre>
        <code>{query}</code>
      </pre>
      <a href={graphiql(query)}>Open it in GraphiQL</a>
    </details>
  );
}

export interface Answer<T> {
  data: T | null;
  /** What is wrong with the newest try; the data beside it are older then. */
  problem: string | null;
  isLoading: boolean;
}

/**
 * The answer to a query, asked again when `turn` changes; while the next is on its way, and when it fails, the last one
 * of the same query stays.
 */
export function useAnswer<T>(query: string | null, turn: unknown, unauthenticated: () => void): Answer<T> {
  const [answer, setAnswer] = useState<Answer<T> & { query: string | null }>({
    query: null,
    data: null,
    problem: null,
    isLoading: true,
  });
  useEffect(() => {
    if (query === null) return undefined;
    const ending = new AbortController();
    const kept = (before: Answer<T> & { query: string | null }) => (before.query === query ? before.data : null);
    setAnswer((before) => ({
      query,
      data: kept(before),
      problem: before.query === query ? before.problem : null,
      isLoading: true,
    }));
    ask<T>(query, ending.signal).then(
      ({ data, errors }) => setAnswer({ query, data, problem: errors[0]?.message ?? null, isLoading: false }),
      (error: unknown) => {
        if (ending.signal.aborted) return;
        if (error instanceof Unauthenticated) unauthenticated();
        const problem = error instanceof Refused ? error.message : "The API cannot be reached.";
        setAnswer((before) => ({ query, data: kept(before), problem, isLoading: false }));
      },
    );
    return () => ending.abort();
  }, [query, turn]);
  return answer;
}
