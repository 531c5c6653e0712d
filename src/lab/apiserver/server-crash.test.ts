// kill -9 of the API server in the middle of a storm of requests, again and again on the same store: what was answered is there, nothing is
// half there, and a watch that goes on where it was misses nothing and is told nothing twice.
// FAIRLEAD_LONG=1 kills it 200 times; SEED=7 kills it at the moments of that run.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import { watchEvents } from "./server.testing.ts";

const roundsCount = process.env["FAIRLEAD_LONG"] === "1" ? 200 : 5;
const seed = Number(process.env["SEED"] ?? 1);
const writersCount = 8;
const path = "/api/v1/namespaces/default/configmaps";

interface ConfigMap {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
  readonly data: { readonly [key: string]: string };
}

/** What a name stands for: the turn that its object was last written in; undefined where there is none. */
type Turn = string | undefined;

/** All that the clients know of the server's objects. */
interface Known {
  /** What the last answer said. */
  readonly answered: Map<string, Turn>;
  /** What was asked for and not answered: it may have happened or not. */
  readonly open: Map<string, Turn>;
  /** Revisions that answers told and no watch has yet been looked at for. */
  readonly revisions: Set<number>;
}

/** What a watch has made of its events, across all servers. */
interface Watched {
  revision: number;
  /** Of all events. */
  readonly revisions: Set<number>;
  readonly objects: Map<string, string>;
}

test(`kill -9 in a storm of requests, ${roundsCount} times: nothing answered is lost, watches go on (SEED=${seed})`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-server-"));
  const random = dice(seed);
  const known: Known = { answered: new Map(), open: new Map(), revisions: new Set() };
  const watched: Watched = { revision: 0, revisions: new Set(), objects: new Map() };
  let server: Server | undefined;
  try {
    for (let round = 0; round < roundsCount; round++) {
      server = await startServer(join(folder, "store.db"));
      await checkAll(server, known, watched);
      await stormAndKill(server, known, { watched, round, random });
    }
    server = await startServer(join(folder, "store.db"));
    await checkAll(server, known, watched);
    assert.ok(watched.revisions.size > roundsCount * 50, `the watch has seen ${watched.revisions.size} events`);
    t.diagnostic(`${watched.revisions.size} events, ${watched.objects.size} objects are left`);
  } finally {
    server?.process.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});

interface Server {
  readonly process: ChildProcess;
  readonly url: string;
}

async function startServer(store: string): Promise<Server> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "server-storm.testing.ts"), store], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { process: child, url: `http://127.0.0.1:${Number(String(line))}` };
}

/** What the server says after a start, beside what its clients were told before. */
async function checkAll(server: Server, known: Known, watched: Watched): Promise<void> {
  const { status, body } = await send(server, new Agent(), { method: "GET", path });
  assert.equal(status, 200);
  const { items, metadata } = JSON.parse(body) as {
    readonly items: readonly ConfigMap[];
    readonly metadata: { readonly resourceVersion: string };
  };
  const there = new Map(items.map((object) => [object.metadata.name, turnOf(object)]));
  for (const [name, turn] of known.answered) {
    const isAnswered = there.get(name) === turn;
    const isOpen = known.open.has(name) && there.get(name) === known.open.get(name);
    assert.ok(isAnswered || isOpen, `${name}: answered ${turn}, open ${known.open.get(name)}, is ${there.get(name)}`);
  }
  for (const name of there.keys()) assert.ok(known.answered.has(name) || known.open.has(name), `${name} was asked for`);
  for (const name of known.open.keys()) known.answered.set(name, there.get(name));
  known.open.clear();
  // A first watch begins with what is there; all later ones go on behind what they were told.
  await follow(server, watched, Number(metadata.resourceVersion));
  assert.deepEqual(sorted(watched.objects), sorted(there), "what the watch was told is what is there");
  for (const revision of known.revisions) assert.ok(watched.revisions.has(revision), `the watch missed ${revision}`);
  known.revisions.clear();
}

/** Whole objects say the same thing twice. */
function turnOf({ metadata, data }: ConfigMap): string {
  assert.deepEqual(Object.keys(data).sort(), ["again", "padding", "turn"], `${metadata.name} is whole`);
  assert.equal(data["again"], data["turn"], `${metadata.name} is whole`);
  assert.equal(data["padding"], padding);
  return data["turn"] ?? "";
}

function sorted(map: ReadonlyMap<string, string>): readonly (readonly [string, string])[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Hears of all changes up to a revision, or, without one, until the server dies. */
async function follow(server: Server, watched: Watched, until?: number): Promise<void> {
  if (until !== undefined && watched.revision >= until) return;
  const query = `watch=true&allowWatchBookmarks=true&resourceVersion=${watched.revision}`;
  const isFirst = watched.revision === 0;
  const initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
  try {
    for await (const event of watchEvents(`${server.url}${path}?${isFirst ? `${initial}&` : ""}${query}`)) {
      note(watched, event as unknown as WatchEvent);
      if (until !== undefined && watched.revision >= until) return;
    }
  } catch (error) {
    if (until !== undefined || error instanceof assert.AssertionError) throw error;
  }
  assert.equal(until, undefined, "the watch ended early");
}

interface WatchEvent {
  readonly type: string;
  readonly object: ConfigMap;
}

function note(watched: Watched, { type, object }: WatchEvent): void {
  const revision = Number(object.metadata.resourceVersion);
  const { name } = object.metadata;
  if (type === "BOOKMARK") {
    watched.revision = Math.max(watched.revision, revision);
    return;
  }
  assert.ok(revision > watched.revision, `${type} ${name}: revision ${revision} came behind ${watched.revision}`);
  watched.revision = revision;
  watched.revisions.add(revision);
  // An event that was missed shows in the next one of its object.
  assert.equal(watched.objects.has(name), type !== "ADDED", `${type} ${name} at ${revision}`);
  if (type === "DELETED") watched.objects.delete(name);
  else watched.objects.set(name, turnOf(object));
}

interface Storm {
  readonly watched: Watched;
  readonly round: number;
  readonly random: () => number;
}

/** Writes through several connections while a watch listens; the server is killed after so many answers, and so many milliseconds. */
async function stormAndKill(server: Server, known: Known, { watched, round, random }: Storm): Promise<void> {
  const followed = follow(server, watched);
  const answersMax = 40 + Math.floor(random() * 400);
  let answers = 0;
  const kill = (): void => void (++answers === answersMax && server.process.kill("SIGKILL"));
  const ended = once(server.process, "exit");
  const writers = Array.from({ length: writersCount }, (_, writer) =>
    write(server, known, { prefix: `r${round}-w${writer}`, random, answered: kill }),
  );
  await Promise.all(writers);
  await ended;
  await followed;
}

interface Writer {
  readonly prefix: string;
  readonly random: () => number;
  readonly answered: () => void;
}

/** One request after another until nobody answers: objects are created, most of them changed, some deleted. */
async function write(server: Server, known: Known, { prefix, random, answered }: Writer): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (let count = 0; ; count++) {
      const name = `${prefix}-${count}`;
      const steps = ["POST", ...(random() < 0.7 ? ["PUT"] : []), ...(random() < 0.4 ? ["DELETE"] : [])];
      for (const [step, method] of steps.entries()) {
        const turn = method === "DELETE" ? undefined : `${count}.${step}`;
        known.open.set(name, turn);
        const { status, body } = await send(server, agent, {
          method,
          path: method === "POST" ? path : `${path}/${name}`,
          ...(turn === undefined ? {} : { body: configMap(name, turn) }),
        });
        assert.ok(status === 200 || status === 201, `${method} ${name}: ${status} ${body}`);
        known.answered.set(name, turn);
        known.open.delete(name);
        // A deletion's answer is a Status, without a revision.
        if (turn !== undefined) known.revisions.add(Number((JSON.parse(body) as ConfigMap).metadata.resourceVersion));
        answered();
      }
    }
  } catch (error) {
    // The connection ends with the server.
    if (error instanceof assert.AssertionError) throw error;
  } finally {
    agent.destroy();
  }
}

const padding = "x".repeat(2000);

function configMap(name: string, turn: string): string {
  return JSON.stringify({ metadata: { name }, data: { turn, padding, again: turn } });
}

/** Resolves with a whole answer only: one whose end is missing is none. */
function send(
  { url }: Server,
  agent: Agent,
  { method, path: where, body = "" }: { readonly method: string; readonly path: string; readonly body?: string },
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "Content-Length": String(Buffer.byteLength(body)) };
    const asked = request(url + where, { method, agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

/** Numbers from 0 to below 1 (mulberry32). */
function dice(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
