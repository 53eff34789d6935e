// The page: where one is, what the API says of itself, and who one is.
import { useEffect, useRef, useState } from "preact/hooks";
import { isSignedIn, signIn, watch } from "./api";
import { List } from "./list";
import { ObjectView } from "./object";
import { Overview } from "./overview";
import { listLink, useRoute, type Route } from "./route";
import type { Now, Point, Start } from "./types";
import { GOOD } from "./words";

const POINTS = 180;

export function App() {
  const route = useRoute();
  const [start, setStart] = useState<Start | null>(null);
  const [now, setNow] = useState<Now | null>(null);
  const [points, setPoints] = useState<Point[]>([]);
  const [lost, setLost] = useState<string | null>(null);
  const [asksWho, setAsksWho] = useState(false);
  const [session, setSession] = useState(0);
  const unauthenticated = () => setAsksWho(true);

  useEffect(() => {
    const ending = new AbortController();
    void watch(
      {
        start(given) {
          setStart(given);
          setPoints(given.points);
          setLost(null);
        },
        now: setNow,
        point: (point) => setPoints((before) => [...before.slice(1 - POINTS), point]),
        lost: setLost,
        unauthenticated,
      },
      ending.signal,
    );
    return () => ending.abort();
  }, [session]);

  useTitle(route, start, now);
  useFocus(route);
  useSlash();

  const signOut = () => {
    signIn("");
    setStart(null);
    setNow(null);
    setPoints([]);
    setSession(session + 1);
  };
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event)}>
        To the content
      </a>
      <header class="container-fluid">
        <nav aria-label="Views">
          <ul>
            <li>
              <a href="#/" aria-current={route.view === "overview" ? "page" : undefined}>
                <strong>KRM</strong> {start?.cluster}
              </a>
            </li>
            {start?.kinds.map((each) => (
              <li key={each.resource}>
                <a
                  href={listLink(each.resource)}
                  aria-current={route.view !== "overview" && route.resource === each.resource ? "page" : undefined}
                >
                  {each.resource}
                </a>
              </li>
            ))}
          </ul>
          <ul>
            <li>
              <a href="graphql">GraphiQL</a>
            </li>
            {isSignedIn() && (
              <li>
                <button type="button" class="plain" onClick={signOut}>
                  Sign out
                </button>
              </li>
            )}
          </ul>
        </nav>
      </header>
      <main class="container-fluid" id="main" tabIndex={-1}>
        {lost && (
          <p class="problem" role="alert">
            Not connected: {lost}. What is shown is as old as that; the page is trying again.
          </p>
        )}
        {start === null || now === null ? (
          <p aria-busy={!lost && !asksWho}>{asksWho ? "Sign in to see the cluster." : lost ? "" : "Connecting …"}</p>
        ) : (
          <View
            route={route}
            start={start}
            now={now}
            points={points}
            unauthenticated={unauthenticated}
            session={session}
          />
        )}
      </main>
      {asksWho && (
        <SignIn
          isWrong={isSignedIn()}
          done={() => {
            setAsksWho(false);
            setSession(session + 1);
          }}
        />
      )}
    </>
  );
}

interface ViewProps {
  route: Route;
  start: Start;
  now: Now;
  points: Point[];
  unauthenticated: () => void;
  session: number;
}

function View({ route, start, now, points, unauthenticated, session }: ViewProps) {
  if (route.view === "overview") return <Overview now={now} points={points} stepSeconds={start.stepSeconds} />;
  const kind = start.kinds.find((each) => each.resource === route.resource);
  if (!kind) {
    return (
      <>
        <h1 tabIndex={-1}>{route.resource}</h1>
        <p>This kind is not cached here; cached are {start.kinds.map((each) => each.resource).join(", ")}.</p>
      </>
    );
  }
  const standing = now.resources.find((each) => each.resource === kind.resource);
  const version = `${standing?.version ?? ""} ${standing?.state ?? ""} ${session}`;
  const shared = { kind, version, nowMs: now.atMs, unauthenticated };
  return (
    <>
      {standing && standing.state !== GOOD && (
        <p class="problem">
          {kind.resource}: {standing.reason ?? standing.state}
        </p>
      )}
      {route.view === "list" ? (
        <List key={kind.resource} search={route.search} {...shared} />
      ) : (
        <ObjectView kinds={start.kinds} namespace={route.namespace} name={route.name} {...shared} />
      )}
    </>
  );
}

function useTitle(route: Route, start: Start | null, now: Now | null): void {
  useEffect(() => {
    const wrong = now?.resources.some((each) => each.state !== GOOD) ? "! " : "";
    const where = route.view === "overview" ? "" : route.view === "list" ? `${route.resource} · ` : `${route.name} · `;
    document.title = `${wrong}${where}KRM ${start?.cluster ?? ""}`.trim();
  });
}

/** A new view is read from its heading on. */
function useFocus(route: Route): void {
  const first = useRef(true);
  const place =
    route.view === "overview"
      ? ""
      : route.view === "list"
        ? route.resource
        : `${route.resource}/${route.namespace}/${route.name}`;
  useEffect(() => {
    if (first.current) first.current = false;
    else document.querySelector<HTMLElement>("main h1")?.focus();
  }, [place]);
}

/** "/" goes to the search field, as on many pages. */
function useSlash(): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const field = document.getElementById("search");
      if (event.key !== "/" || event.ctrlKey || event.metaKey || !field) return;
      if (event.target instanceof HTMLElement && event.target.closest("input, textarea, select")) return;
      event.preventDefault();
      field.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function SignIn({ isWrong, done }: { isWrong: boolean; done: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    signIn(String(form.get("token") ?? ""));
    done();
  };
  return (
    <dialog ref={dialog} aria-labelledby="who" onCancel={(event) => event.preventDefault()}>
      <article>
        <h2 id="who">Who are you?</h2>
        {isWrong && (
          <p class="problem" role="alert">
            This token is not valid, or no longer.
          </p>
        )}
        <form onSubmit={submit}>
          <label>
            Token
            <input type="password" name="token" autocomplete="off" required aria-describedby="token-help" />
            <small id="token-help">
              A bearer token of the cluster, such as <code>kubectl create token NAME</code> gives. It is kept in this
              page's memory only; you see what it may list.
            </small>
          </label>
          <button type="submit">Sign in</button>
        </form>
      </article>
    </dialog>
  );
}
