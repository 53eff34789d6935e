// How KRM stands: every kind, what was asked of it, and how the last quarter of an hour went.
import { useMemo } from "preact/hooks";
import { Chart, type Line } from "./chart";
import { listLink } from "./route";
import type { Now, Point, Standing } from "./types";
import { age, bytes, count, GOOD, meaning, seconds, stateName } from "./words";

const COLORS = ["#2f78c4", "#c2570c", "#1f8a4c", "#a3398f", "#8a6d00", "#5b5fc7", "#0f8a8a", "#c4405a"];
const WINDOW_S = 900;

export function Overview({ now, points, stepSeconds }: { now: Now; points: Point[]; stepSeconds: number }) {
  const wrong = now.resources.filter((each) => each.state !== GOOD);
  return (
    <>
      <h1 tabIndex={-1}>How true the answers are</h1>
      <p class="verdict" role="status">
        {wrong.length === 0
          ? "Every kind is in sync: verified in time, and followed since."
          : `${wrong.length} of ${now.resources.length} kinds need a look: ${wrong.map((each) => each.resource).join(", ")}.`}
      </p>
      <Kinds standings={now.resources} />
      <Spared now={now} />
      <Timeline now={now} points={points} stepSeconds={stepSeconds} />
    </>
  );
}

function Kinds({ standings }: { standings: Standing[] }) {
  return (
    <div class="wide">
      <table class="kinds">
        <caption class="unseen">State of every kind</caption>
        <thead>
          <tr>
            <th scope="col">Kind</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Objects
            </th>
            <th scope="col" class="number">
              Events/s
            </th>
            <th scope="col" class="number">
              Stream lag
            </th>
            <th scope="col" class="number">
              Verified
            </th>
            <th scope="col" class="number">
              Corrected
            </th>
          </tr>
        </thead>
        <tbody>
          {standings.map((each) => (
            <Row key={each.resource} standing={each} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ standing }: { standing: Standing }) {
  const { missed } = standing;
  const corrections = `missed by the stream: ${missed.added} added, ${missed.modified} modified, ${missed.deleted} deleted; ${missed.ghosts} ghosts`;
  return (
    <>
      <tr data-resource={standing.resource}>
        <th scope="row">
          <a href={listLink(standing.resource)}>{standing.resource}</a>
        </th>
        <td>
          <span class={`state ${standing.state}`} title={meaning(standing.state)}>
            {stateName(standing.state)}
          </span>
        </td>
        <td class="number">
          {standing.rows === null ? (
            <span title="not to be listed by you, or not there yet">–</span>
          ) : (
            count(standing.rows)
          )}
        </td>
        <td class="number">{standing.eventsPerSecond.toFixed(1)}</td>
        <td class="number">{seconds(standing.lagSeconds)}</td>
        <td class="number">
          {standing.verifiedAgeSeconds === null ? "never" : `${age(standing.verifiedAgeSeconds)} ago`}
        </td>
        <td class="number" title={corrections}>
          {count(standing.corrected)}
        </td>
      </tr>
      {standing.state !== GOOD && (
        <tr class="why" data-why={standing.resource}>
          <td colSpan={7}>
            <strong>{standing.resource}:</strong> {standing.reason ? `${standing.reason}. ` : ""}
            {meaning(standing.state)}
          </td>
        </tr>
      )}
    </>
  );
}

function Spared({ now }: { now: Now }) {
  const { requests } = now.made;
  return (
    <section class="cards" aria-label="Cost">
      <article>
        <h2>Asked of KRM</h2>
        <p class="figure">{count(now.asked)}</p>
        <small>questions answered by this process, none of which reached the API server</small>
      </article>
      <article>
        <h2>Asked by KRM</h2>
        <p class="figure">{count(requests)}</p>
        <small>requests that its workers made of the API server, {bytes(now.made.bytes)} received</small>
      </article>
      <article>
        <h2>Redis</h2>
        <p class="figure">{bytes(now.redis.bytes)}</p>
        <small>{now.redis.maxBytes === null ? "in use" : `of ${bytes(now.redis.maxBytes)}`}</small>
      </article>
      <article>
        <h2>This replica</h2>
        <p class="figure">{bytes(now.replica.bytes)}</p>
        <small>of memory</small>
      </article>
    </section>
  );
}

function Timeline({ now, points, stepSeconds }: { now: Now; points: Point[]; stepSeconds: number }) {
  const kinds = now.resources.map((each) => each.resource).join("\n");
  const { times, events, lags, repairs } = useMemo(() => {
    const names = kinds.split("\n");
    const last = points.at(-1)?.atMs ?? now.atMs;
    const first = last / 1000 - WINDOW_S;
    // The axis spans the whole quarter from the start on.
    const times = [first, ...points.map((each) => each.atMs / 1000)];
    const of = (value: (point: Point) => number | null) => [null, ...points.map(value)];
    const color = (place: number) => COLORS[place % COLORS.length] ?? "#888888";
    const events: Line[] = names.map((name, place) => ({
      label: name,
      color: color(place),
      values: of((point) => (point.kinds[name]?.events ?? 0) / stepSeconds),
    }));
    const worst = (point: Point, which: "lagP50" | "lagP99") => {
      const lags = names.flatMap((name) => point.kinds[name]?.[which] ?? []);
      return lags.length ? Math.max(...lags) : null;
    };
    const lags: Line[] = [
      { label: "p50", color: color(0), values: of((point) => worst(point, "lagP50")) },
      { label: "p99", color: color(1), values: of((point) => worst(point, "lagP99")) },
    ];
    const total = (point: Point, which: "corrected" | "restarts") =>
      names.reduce((sum, name) => sum + (point.kinds[name]?.[which] ?? 0), 0);
    const repairs: Line[] = [
      { label: "corrections", color: color(3), values: of((point) => total(point, "corrected")) },
      { label: "restarts of streams", color: color(2), values: of((point) => total(point, "restarts")) },
    ];
    return { times, events, lags, repairs };
  }, [points, kinds, stepSeconds]);
  return (
    <section aria-label="The last 15 minutes">
      <h2>The last 15 minutes</h2>
      <div class="charts">
        <Chart
          title="Events"
          unit="a second, by kind"
          times={times}
          lines={events}
          reach={1}
          show={(value) => String(Number(value.toPrecision(3)))}
        />
        <Chart
          title="Stream lag"
          unit="of the slowest kind"
          times={times}
          lines={lags}
          reach={0.1}
          show={(value) => `${Number(value.toPrecision(2))} s`}
        />
        <Chart
          title="Repairs"
          unit={`in ${stepSeconds} s`}
          times={times}
          lines={repairs}
          reach={2}
          show={(value) => String(Number(value.toPrecision(3)))}
        />
      </div>
    </section>
  );
}
