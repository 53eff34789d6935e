// The filter line: `PATH OP VALUE`, `PATH`, `!PATH`, joined by "and", or the JSON of a filter; as on the command line.

export interface Filter {
  path?: string;
  and?: Filter[];
  or?: Filter[];
  not?: Filter;
  [operator: string]: unknown;
}

const OPERATORS: Record<string, string> = {
  "!=": "ne",
  "<=": "lte",
  ">=": "gte",
  "*=": "contains",
  "=": "eq",
  "<": "lt",
  ">": "gt",
  "~": "matches",
};
const TERM = /^([^\s=!<>~*]+(?:\[\*\][^\s=!<>~*]*)*)\s*(!=|<=|>=|\*=|=|<|>|~)\s*(.*)$/;

/** Throws an `Error` that names the term that is none. */
export function parse(text: string): Filter | undefined {
  const line = text.trim();
  if (!line) return undefined;
  if (line.startsWith("{")) {
    try {
      return JSON.parse(line) as Filter;
    } catch {
      throw new Error("The filter begins like JSON but is none.");
    }
  }
  const terms = line.split(/\s+and\s+/).map(term);
  return terms.length === 1 ? terms[0] : { and: terms };
}

function term(text: string): Filter {
  const found = TERM.exec(text.trim());
  if (found) {
    const [, path, operator = "", value = ""] = found;
    const name = OPERATORS[operator] ?? "";
    return { path, [name]: name === "contains" || name === "matches" ? unquoted(value) : json(value) };
  }
  const bare = text.trim();
  if (/^!?[^\s=<>~!]+$/.test(bare)) {
    return bare.startsWith("!") ? { path: bare.slice(1), exists: false } : { path: bare, exists: true };
  }
  throw new Error(`“${bare}” is no term: write PATH = VALUE (or != < <= > >= ~ *=), PATH, or !PATH.`);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function unquoted(text: string): string {
  const value = json(text);
  return typeof value === "string" ? value : text;
}

/** Rows whose name, namespace or a kind's other words contain a text. */
export function containing(text: string, paths: string[]): Filter | undefined {
  const wanted = text.trim();
  return wanted ? { or: paths.map((path) => ({ path, contains: wanted })) } : undefined;
}

export function both(...filters: (Filter | undefined)[]): Filter | undefined {
  const given = filters.filter((each) => each !== undefined);
  return given.length > 1 ? { and: given } : given[0];
}
