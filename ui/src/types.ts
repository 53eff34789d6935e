/** A kind, as far as the page needs to know it. */
export interface Kind {
  resource: string;
  kind: string;
  listField: string;
  singleField: string;
  namespaced: boolean;
  relations: { name: string; target: string; isSingle: boolean }[];
}

export interface KindPoint {
  events: number;
  corrected: number;
  restarts: number;
  lagP50: number | null;
  lagP99: number | null;
}

export interface Point {
  atMs: number;
  kinds: Record<string, KindPoint>;
}

export interface Start {
  cluster: string;
  stepSeconds: number;
  points: Point[];
  kinds: Kind[];
}

export interface Standing {
  resource: string;
  state: string;
  reason: string | null;
  version: string | null;
  verifiedAgeSeconds: number | null;
  lagSeconds: number | null;
  contiguous: boolean;
  eventsPerSecond: number;
  corrected: number;
  missed: { added: number; modified: number; deleted: number; ghosts: number };
  rows: number | null;
}

export interface Now {
  atMs: number;
  resources: Standing[];
  asked: number;
  made: { requests: number; bytes: number };
  redis: { bytes: number | null; maxBytes: number | null };
  replica: { bytes: number | null };
  watchers: number;
}

/** A Kubernetes object, or a part of one. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
