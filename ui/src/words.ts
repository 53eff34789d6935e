// States, ages and sizes in words.

export const GOOD = "SYNCED";

/** What a state means for whoever reads the answers, and what KRM does about it. */
export function meaning(state: string): string {
  switch (state) {
    case "SYNCED":
      return "Exact, and verified in time.";
    case "CATCHING_UP":
      return "Verified, but events may be missing since then. KRM is closing the gap: the next list does, at the latest.";
    case "STALE":
      return "Answers are as old as the last verification. KRM goes on serving the last proven table and tries again, ever more patiently.";
    case "NOT_READY":
      return "There is no proven table yet: questions get an error, never an empty answer. KRM is waiting for the first whole list.";
    case "FORBIDDEN":
      return "The API server does not let KRM list this kind. KRM asks again now and then; the other kinds are not affected.";
    case "GONE":
      return "The API server no longer serves this kind. KRM asks again now and then.";
    case "HISTORY_RESET":
      return "The cluster's history was reset (restored or replaced). KRM is building the table anew from a whole list.";
    default:
      return "";
  }
}

export function stateName(state: string): string {
  return state.toLowerCase().replaceAll("_", " ");
}

export function seconds(value: number | null): string {
  if (value === null) return "–";
  if (Math.abs(value) < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  return age(value);
}

export function age(value: number): string {
  const units: [number, string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
  ];
  for (const [size, name] of units)
    if (value >= size * (name === "min" ? 2 : 1)) return `${Math.floor(value / size)} ${name}`;
  return `${Math.floor(value)} s`;
}

export function since(time: string, nowMs: number): string {
  const at = Date.parse(time);
  return Number.isNaN(at) ? time : age(Math.max(0, (nowMs - at) / 1000));
}

const whole = new Intl.NumberFormat("en");

export function count(value: number): string {
  return whole.format(value);
}

export function bytes(value: number | null): string {
  if (value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
