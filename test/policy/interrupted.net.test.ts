// Policies and labels that change while the agents that write them are killed in the middle of it, by SIGKILL after any of their writes, and
// started again: real packets that all policies since the last rest forbid are sent all the time, and none may pass; in the end the kernels
// hold what a fresh start makes, a fresh start finds nothing to write, and every packet does what the oracle says.
// SEED=7 runs one story again, EDITS=50 a longer one; FAIRLEAD_LONG=1 many.

import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import { stringify } from "yaml";

import { openAttachments } from "../../src/agent/attachments.ts";
import type { NetworkKernel } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { bindUdpFd } from "../../src/kernel/sockets.ts";
import { createTopology } from "../../src/lab/network/topology.ts";
import { buildNetwork } from "../../src/model/build.ts";
import { compile } from "../../src/program/compile.ts";
import { planTable } from "../../src/program/nftables/diff.ts";
import { createDice, randomClusterPolicies, randomPolicies, randomWorld, type Dice } from "./random.testing.ts";
import type { Question } from "./oracle.ts";
import type { WriterAnswer, WriterNode, WriterOrder } from "./writer.testing.ts";
import { cluster, clusterObjects, isOwnAddress, oracleAnswer, probesOf, type PolicyWorld } from "./worlds.testing.ts";

const isLong = process.env["FAIRLEAD_LONG"] === "1";
const seeds =
  process.env["SEED"] === undefined ? (isLong ? [1, 2, 3, 4, 5, 6, 7, 8] : [1, 2]) : [Number(process.env["SEED"])];
const edits = Number(process.env["EDITS"] ?? (isLong ? 40 : 6));
/** The smallest transactions that the order of a change allows: the most places to be killed at. */
const batchBytesMax = 1;

for (const seed of seeds)
  void test(`edits interrupted by kill -9, seed ${seed}`, async (t) => {
    const dice = createDice(seed + 77_000);
    const place = await openPlace(randomWorld(seed));
    try {
      let deaths = 0;
      for (let edit = 0; edit < edits; edit++) {
        const next = edited(dice, place.world());
        // About half of the changes do not come to their end; the number of writes is not known before, so some of these do.
        const died = await place.change(next, dice.once(2) ? 1 + dice.roll(8) : undefined);
        if (died) {
          deaths++;
          // Sometimes the next change is there already when the agents come back.
          if (dice.once(2)) place.next(edited(dice, place.world()));
          await place.restart();
        }
        assert.deepEqual(place.leaks(), [], `seed ${seed}, edit ${edit}`);
        await place.compare(`seed ${seed}, edit ${edit}`);
      }
      assert.ok(edits < 6 || deaths > 0, "nothing was interrupted: writes are fewer than thought");
      place.kernelsHold(`seed ${seed}`);
      await place.kill();
      assert.equal(await place.restart(), 0, "agents that start again on what is there have nothing to write");
      t.diagnostic(`${edits} edits, ${deaths} interrupted, ${place.sent()} forbidden packets sent on the way`);
    } finally {
      await place.close();
    }
  });

/** Other policies, or a pod with other labels, or a namespace with others. */
function edited(dice: Dice, world: PolicyWorld): PolicyWorld {
  const which = dice.roll(4);
  if (which === 0) {
    const index = dice.roll(world.pods.length);
    const changed = world.pods[index];
    if (changed === undefined) return world;
    const labels = { app: dice.pick(["web", "api", "db"]), ...(dice.once(2) && { tier: "front" }) };
    return { ...world, pods: world.pods.with(index, { ...changed, metadata: { ...changed.metadata, labels } }) };
  }
  const kept = world.policies.filter(() => dice.once(2));
  const names = new Set(kept.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`));
  const fresh = randomPolicies(dice, world).filter(
    ({ metadata }) => !names.has(`${metadata.namespace}/${metadata.name}`),
  );
  const clusterPolicies = which === 1 ? randomClusterPolicies(dice, world) : world.clusterPolicies;
  return { ...world, policies: [...kept, ...fresh], clusterPolicies };
}

// ---------------------------------------------------------------- two nodes, their pods, and somebody who asks without end

interface Place {
  world(): PolicyWorld;
  /** Objects that whoever is started next finds. */
  next(world: PolicyWorld): void;
  /** Has the agents bring the change to the kernels; true where they were killed on the way. */
  change(world: PolicyWorld, dieAfter: number | undefined): Promise<boolean>;
  kill(): Promise<void>;
  /** Starts the agents again and waits for their rest; how often they wrote. */
  restart(): Promise<number>;
  /** Packets that came through although every world since the last rest forbids them. */
  leaks(): readonly string[];
  /** At rest: every packet does what the oracle says. */
  compare(name: string): Promise<void>;
  /** At rest: the kernels hold the Programs of today's objects and nothing else of ours. */
  kernelsHold(name: string): void;
  sent(): number;
  close(): Promise<void>;
}

interface Ask {
  readonly from: string;
  readonly question: Question;
}

async function openPlace(first: PolicyWorld): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-test-"));
  const topology = createTopology({ families: [4, 6], nodeCidrs: cluster.nodeCidrs });
  const kernels = new Map<string, NetworkKernel>();
  const nodes = first.nodes.map((each): WriterNode & { readonly namespace: NetworkNamespace } => {
    const { name } = each.metadata;
    const addresses = (each.status?.addresses ?? []).filter(({ type }) => type === "InternalIP");
    const machine = topology.addNode(
      name,
      addresses.map(({ address }) => address),
    );
    kernels.set(name, openKernel(name, machine.namespace));
    return {
      name,
      namespace: machine.namespace,
      // Descriptors of a child: 0 to 2 are its streams, 3 the channel.
      fd: 4 + first.nodes.indexOf(each),
      podCidrs: each.spec?.podCIDRs ?? [],
      attachmentsFile: join(folder, `${name}.json`),
    };
  });
  const pods = first.pods.filter(isOwnAddress).map((each) => ({
    name: `${each.metadata.namespace}/${each.metadata.name}`,
    node: each.spec.nodeName ?? "",
    addresses: each.status?.podIPs?.map(({ ip }) => ip) ?? [],
    namespace: createNetworkNamespace(),
  }));
  const descriptors = [...nodes, ...pods].map(({ namespace }) => namespace.fd);

  let world = first;
  /** What the kernels may hold, wholly or in part: all worlds since the last rest. */
  let possible: readonly PolicyWorld[] = [first];
  let writer: ChildProcess | undefined;
  const order = async (what: WriterOrder): Promise<WriterAnswer | undefined> => {
    const child = writer;
    if (child === undefined) throw new Error("no agents");
    const answer = new Promise<WriterAnswer | undefined>((resolve) => {
      child.once("message", (message) => resolve(message as WriterAnswer));
      child.once("exit", () => resolve(undefined));
    });
    child.send(what);
    const got = await answer;
    child.removeAllListeners("message").removeAllListeners("exit");
    if (got?.ok === false) throw new Error(got.error);
    return got;
  };
  const start = async (): Promise<number> => {
    writer = fork(join(import.meta.dirname, "writer.testing.ts"), {
      stdio: ["ignore", "inherit", "inherit", "ipc", ...descriptors],
    });
    const got = await order({
      kind: "start",
      nodes: nodes.map(({ name, fd, podCidrs, attachmentsFile }) => ({ name, fd, podCidrs, attachmentsFile })),
      batchBytesMax,
      objects: clusterObjects(world),
    });
    if (got?.ok !== true) throw new Error("the agents ended while they started");
    return got.writes;
  };
  const end = async (): Promise<void> => {
    const child = writer;
    writer = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  };
  const rested = (): void => {
    possible = [world];
    prober.choose(possible);
  };

  const prober = startProber(pods, first);
  const close = async (): Promise<void> => {
    await end();
    prober.close();
    for (const kernel of kernels.values()) kernel.close();
    topology.close();
    for (const { namespace } of pods) namespace.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await start();
    for (const [index, { name, node, addresses }] of pods.entries()) {
      const [namespace = "", podName = ""] = name.split("/");
      const fd = 4 + nodes.length + index;
      await order({ kind: "add", node, fd, namespace, name: podName, addresses });
    }
    await order({ kind: "settle" });
  } catch (error) {
    await close();
    throw error;
  }
  rested();

  const moveTo = async (next: PolicyWorld): Promise<void> => {
    await prober.pause();
    world = next;
    possible = [...possible, next];
    prober.choose(possible);
  };
  let upcoming: PolicyWorld | undefined;

  return {
    world: () => upcoming ?? world,
    next: (one) => void (upcoming = one),
    async change(one, dieAfter) {
      await moveTo(one);
      const got = await order({ kind: "change", objects: clusterObjects(one), dieAfter });
      if (got === undefined) {
        writer = undefined;
        return true;
      }
      if (dieAfter !== undefined) await order({ kind: "change", objects: clusterObjects(one), dieAfter: undefined });
      rested();
      return false;
    },
    kill: end,
    async restart() {
      if (upcoming !== undefined) await moveTo(upcoming);
      upcoming = undefined;
      const writes = await start();
      rested();
      return writes;
    },
    leaks: () => prober.leaks(),
    compare: (name) => prober.compare(world, name),
    kernelsHold(name) {
      const network = buildNetwork(cluster, clusterObjects(world));
      for (const { name: node, attachmentsFile } of nodes) {
        const { tables } = compile(network, node, openAttachments(attachmentsFile).list());
        for (const table of tables) {
          const state = kernels.get(node)?.nftTable(table.family, table.name);
          const differing = planTable(table, state).flatMap((part) => part.map((item) => JSON.stringify(item)));
          assert.deepEqual(differing, [], `${name}, ${node}, table ${table.family}`);
        }
      }
    },
    sent: () => prober.sent(),
    close,
  };
}

interface Prober {
  /** From now on what all of these worlds forbid, at the same end, is sent without end. */
  choose(possible: readonly PolicyWorld[]): void;
  /** Nothing is on its way any more, and nothing is sent until the next choice. */
  pause(): Promise<void>;
  leaks(): readonly string[];
  compare(world: PolicyWorld, name: string): Promise<void>;
  sent(): number;
  close(): void;
}

function startProber(
  pods: readonly {
    readonly name: string;
    readonly addresses: readonly string[];
    readonly namespace: NetworkNamespace;
  }[],
  first: PolicyWorld,
): Prober {
  const asks = ([4, 6] as const).flatMap((family) =>
    probesOf(first, family).flatMap(({ question, start, by }): readonly Ask[] =>
      by === "address" && question.protocol === "udp" && start.kind === "pod" && question.to.kind === "pod"
        ? [{ from: start.name, question }]
        : [],
    ),
  );
  const leaks: string[] = [];
  let forbidden: readonly number[] = [];
  let sent = 0;
  let flying = 0;
  let arrived: Set<number> | undefined;
  // A packet says itself whether it was forbidden when it was sent.
  const receivers = pods.flatMap(({ namespace }) =>
    ([4, 6] as const).flatMap((family) =>
      [...new Set(asks.map(({ question }) => question.port))].map((port) => {
        const socket = createSocket(family === 4 ? "udp4" : "udp6", (message) => {
          const [kind = "", index = ""] = message.toString().split(" ");
          if (kind === "asked") arrived?.add(Number(index));
          else leaks.push(nameOf(Number(index)));
        });
        socket.bind({ fd: bindUdpFd(namespace, { address: family === 4 ? "0.0.0.0" : "::", port }) });
        return socket;
      }),
    ),
  );
  const senders = new Map(
    pods.flatMap(({ name, namespace }) =>
      ([4, 6] as const).map((family): [string, Socket] => {
        const socket = createSocket(family === 4 ? "udp4" : "udp6");
        socket.on("error", () => {});
        socket.bind({ fd: bindUdpFd(namespace, { address: family === 4 ? "0.0.0.0" : "::", port: 0 }) });
        return [`${name} ${family}`, socket];
      }),
    ),
  );
  const nameOf = (index: number): string => {
    const { from, question } = asks[index] as Ask;
    return `${from} -> ${question.to.address} udp ${question.port}`;
  };
  const send = (index: number, kind: "forbidden" | "asked"): void => {
    const { from, question } = asks[index] as Ask;
    const { address } = question.to;
    flying++;
    // Refused or full: an answer as good as silence.
    senders
      .get(`${from} ${address.includes(":") ? 6 : 4}`)
      ?.send(`${kind} ${index}`, question.port, address, () => void flying--);
  };
  let turn = 0;
  const timer = setInterval(() => {
    for (let count = 0; count < Math.min(20, forbidden.length); count++) {
      const index = forbidden[turn++ % forbidden.length] as number;
      send(index, "forbidden");
      sent++;
    }
  }, 1);
  const quiet = async (): Promise<void> => {
    // The wire is the same kernel: what was sent has arrived or is gone; its receiver reads it in the next turns of the loop.
    do await new Promise((resolve) => void setImmediate(resolve));
    while (flying > 0);
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => void setTimeout(resolve, 1));
  };

  return {
    choose(possible) {
      forbidden = asks.flatMap(({ question }, index) => {
        const answers = possible.map((world) => oracleAnswer(world, inWorld(world, question)));
        const [one] = answers;
        const alike = answers.every(
          (answer) => one?.kind === "denied" && answer.kind === "denied" && answer.by === one.by,
        );
        return alike ? [index] : [];
      });
    },
    async pause() {
      forbidden = [];
      await quiet();
    },
    leaks: () => leaks,
    async compare(world, name) {
      const before = forbidden;
      forbidden = [];
      await quiet();
      arrived = new Set();
      const expected = asks.flatMap(({ question }, index) =>
        oracleAnswer(world, inWorld(world, question)).kind === "allowed" ? [index] : [],
      );
      for (const index of asks.keys()) send(index, "asked");
      const deadline = performance.now() + 10_000;
      do await quiet();
      while (arrived.size < expected.length && performance.now() < deadline);
      const text = [...world.namespaces, ...world.pods, ...world.policies, ...world.clusterPolicies];
      assert.deepEqual(
        [...arrived].sort((a, b) => a - b).map(nameOf),
        expected.map(nameOf),
        `${name}:\n${text.map((object) => stringify(object)).join("---\n")}`,
      );
      arrived = undefined;
      forbidden = before;
    },
    sent: () => sent,
    close() {
      clearInterval(timer);
      for (const socket of [...receivers, ...senders.values()]) socket.close();
    },
  };
}

/** The question about the pods as they are in this world. */
function inWorld(world: PolicyWorld, question: Question): Question {
  const renewed = <E extends Question["from"]>(end: E): E => {
    if (end.kind !== "pod") return end;
    const { namespace, name } = end.pod.metadata;
    const pod = world.pods.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
    return { ...end, pod: pod ?? end.pod };
  };
  return { ...question, from: renewed(question.from), to: renewed(question.to) };
}
