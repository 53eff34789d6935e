// One chart over time: lines of uPlot, and the same in words for whoever does not see them.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

export interface Line {
  label: string;
  color: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  unit: string;
  times: number[];
  lines: Line[];
  show: (value: number) => string;
  /** What the axis reaches at least. */
  reach: number;
}

const HEIGHT = 150;

export function Chart({ title, unit, times, lines, show, reach }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const labels = lines.map((each) => each.label).join("\n");

  useEffect(() => {
    const parent = place.current;
    if (!parent) return undefined;
    const style = getComputedStyle(parent);
    const ink = style.getPropertyValue("--pico-muted-color");
    const grid = style.getPropertyValue("--pico-muted-border-color");
    const axis = {
      stroke: ink,
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const made = new uPlot(
      {
        width: parent.clientWidth,
        height: HEIGHT,
        cursor: { y: false, drag: { x: false, y: false } },
        legend: { show: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, reach)] } },
        axes: [
          { ...axis, values: (_plot, ticks) => ticks.map(clock) },
          { ...axis, size: 56, values: (_plot, ticks) => ticks.map(show) },
        ],
        series: [
          {},
          ...lines.map((each) => ({
            label: each.label,
            stroke: each.color,
            width: 1.5,
            spanGaps: false,
            points: { show: false },
          })),
        ],
      },
      [times, ...lines.map((each) => each.values)],
      parent,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: HEIGHT }));
    resized.observe(parent);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => {
      const current = getComputedStyle(parent);
      for (const each of made.axes) {
        each.stroke = () => current.getPropertyValue("--pico-muted-color");
        if (each.grid) each.grid.stroke = () => current.getPropertyValue("--pico-muted-border-color");
      }
      made.redraw();
    };
    scheme.addEventListener("change", redraw);
    return () => {
      scheme.removeEventListener("change", redraw);
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [labels]);

  useEffect(() => {
    plot.current?.setData([times, ...lines.map((each) => each.values)]);
  }, [times, lines]);

  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong> <small>{unit}</small>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}: ${lines.map((each) => inWords(each, show)).join("; ")}`} />
      {lines.length > 1 && (
        <ul class="legend" aria-hidden="true">
          {lines.map((each) => (
            <li key={each.label}>
              <svg width="14" height="4">
                <rect width="14" height="4" fill={each.color} />
              </svg>
              {each.label}
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}

function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

function inWords(line: Line, show: (value: number) => string): string {
  const known = line.values.filter((each) => each !== null);
  const last = known.at(-1);
  if (last === undefined) return `${line.label} has no values yet`;
  return `${line.label} is at ${show(last)}, at most ${show(Math.max(...known))}`;
}
