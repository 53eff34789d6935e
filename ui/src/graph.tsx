// An object among those that it is related to, as a small graph; every box leads to its object.
import dagre from "@dagrejs/dagre";
import { useMemo } from "preact/hooks";

export interface Box {
  id: string;
  kind: string;
  name: string;
  link: string | null;
}

export interface Edge {
  from: string;
  to: string;
  label: string;
}

const HEIGHT = 46;
const CHARACTER = 8;

export function Graph({ boxes, edges, center }: { boxes: Box[]; edges: Edge[]; center: string }) {
  const drawn = useMemo(() => {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 70, marginx: 6, marginy: 6 });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const box of boxes) {
      const width = Math.max(90, Math.max(box.name.length, box.kind.length) * CHARACTER + 20);
      graph.setNode(box.id, { width, height: HEIGHT });
    }
    for (const edge of edges) graph.setEdge(edge.from, edge.to, {}, edge.label);
    dagre.layout(graph);
    return {
      width: Math.ceil(graph.graph().width ?? 0),
      height: Math.ceil(graph.graph().height ?? 0),
      places: new Map(boxes.map((box) => [box.id, graph.node(box.id)])),
      lines: edges.map((edge) => ({ ...edge, points: graph.edge(edge.from, edge.to, edge.label)?.points ?? [] })),
    };
  }, [boxes, edges]);
  return (
    <div class="wide" tabIndex={0} role="group" aria-label="Relations">
      <svg class="graph" width={drawn.width} height={drawn.height} role="group" aria-label="Relations">
        {drawn.lines.map((line) => (
          <polyline
            key={`${line.from} ${line.to} ${line.label}`}
            points={line.points.map((each: { x: number; y: number }) => `${each.x},${each.y}`).join(" ")}
          >
            <title>{line.label}</title>
          </polyline>
        ))}
        {boxes.map((box) => {
          const place = drawn.places.get(box.id);
          if (!place) return null;
          const body = (
            <g
              transform={`translate(${place.x - place.width / 2}, ${place.y - HEIGHT / 2})`}
              class={box.id === center ? "center" : undefined}
            >
              <rect width={place.width} height={HEIGHT} rx="6" />
              <text x="10" y="18" class="kind">
                {box.kind}
              </text>
              <text x="10" y="36">
                {box.name}
              </text>
            </g>
          );
          return box.link && box.id !== center ? (
            <a key={box.id} href={box.link} aria-label={`${box.kind} ${box.name}`}>
              {body}
            </a>
          ) : (
            <g key={box.id}>{body}</g>
          );
        })}
      </svg>
    </div>
  );
}
