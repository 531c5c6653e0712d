// Connections and UDP flows that were there before an edit: who keeps his endpoint, who gets another, who is heard no more.

import dgram from "node:dgram";
import { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import { familyOf, type Address } from "../../../src/ip/address.ts";
import { bindUdpFd, tcpSocketFd } from "../../../src/kernel/sockets.ts";
import type { Probe } from "./compare.testing.ts";
import { externalAddresses, servicesMax, type Dice } from "./random.testing.ts";
import { places, type World } from "./world.testing.ts";

interface Flow {
  readonly probe: Probe;
  /** Who answered first. */
  readonly endpoint: string;
  fate(): Promise<"kept" | "moved" | "silent" | "broken">;
  close(): void;
}

type IsServed = (address: string, port: number, endpoint?: string) => boolean;

interface Judged {
  readonly compared: number;
  readonly differences: readonly string[];
}

export interface Flows {
  /**
   * What became of them, where it differs. `isServed`: has the address an endpoint that serves? Where it has none any more Fairlead forgets
   * UDP flows, and kube-proxy lets them go on to an endpoint that is gone (docs/agent.md).
   */
  differences(isServed: IsServed): Promise<Judged>;
}

const noFates: ReadonlyMap<string, ReadonlySet<string>> = new Map();
const serving = ", which serves";
const unanswered = "no answer";
const targetsMax = 25;
const flowsEach = 3;

/** Opens some in both worlds, as the dice say. */
export async function openFlows(worlds: readonly World[], probes: readonly Probe[], dice: Dice): Promise<Flows> {
  const able = probes.filter(({ kind, port }) => kind !== "ping" && port !== 7);
  const chosen = [
    ...(able.length === 0 ? [] : Array.from({ length: targetsMax }, () => dice.one(able))),
    // Whoever sent to an address before a Service had it is served when one has.
    ...Array.from({ length: targetsMax }, (): Probe => {
      const address = dice.one(externalAddresses(dice.below(servicesMax)));
      return { place: dice.one(places), kind: "udp", address, port: dice.one([80, 5300]), isSticky: false };
    }),
  ];
  const opened = await Promise.all(
    worlds.map(async (world) => {
      const tried = await Promise.all(
        [...new Set(chosen)].flatMap((probe) => Array.from({ length: flowsEach }, () => open(world, probe))),
      );
      return tried.filter((flow) => flow !== undefined);
    }),
  );
  const judge = async (isServed: IsServed): Promise<Judged> => {
    const [theirs = noFates, ours = noFates] = await Promise.all(opened.map((flows) => fatesOf(flows, isServed)));
    const both = [...ours.keys()].filter((key) => theirs.has(key));
    const differences = both.flatMap((key) => {
      const [a, b] = [theirs, ours].map((fates) => [...(fates.get(key) ?? [])].sort().join());
      // kube-proxy forgets flows after some changes only, and so leaves those who came before a Service had the address without it.
      if (key.endsWith(unanswered) && b === "moved") return [];
      // An edit of two slices is two events: who acts upon the first one at once may forget a flow to an endpoint that is there again.
      if (key.endsWith(serving) && b === "kept") return [];
      return a === b ? [] : [`${key}:\n  kube-proxy: ${a}\n  fairlead:   ${b}`];
    });
    return { compared: both.length, differences };
  };
  return {
    async differences(isServed) {
      let judged = await judge(isServed);
      // Each of them forgets flows after its rules are in the kernel: on a busy machine that may take a while.
      if (judged.differences.length > 0) {
        await delay(1500);
        judged = await judge(isServed);
      }
      for (const flow of opened.flat()) flow.close();
      return judged;
    },
  };
}

async function fatesOf(flows: readonly Flow[], isServed: IsServed): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const fates = new Map<string, Set<string>>();
  await Promise.all(
    flows.map(async ({ probe, endpoint, fate }) => {
      const { place, kind, address, port } = probe;
      if (kind === "udp" && !isServed(address, port)) return;
      const key = `${place} had asked ${kind} ${address} ${port} and got ${endpoint}${isServed(address, port, endpoint) ? serving : ""}`;
      const one = await fate();
      fates.set(key, (fates.get(key) ?? new Set()).add(one));
    }),
  );
  return fates;
}

async function open(world: World, probe: Probe): Promise<Flow | undefined> {
  return probe.kind === "tcp" ? openTcp(world, probe) : openUdp(world, probe);
}

async function openTcp(world: World, probe: Probe): Promise<Flow | undefined> {
  const family = familyOf(probe.address);
  const socket = new Socket({ fd: tcpSocketFd(world.namespaceOf(probe.place), family) });
  let heard = "";
  let isBroken = false;
  const look = new Set<() => void>();
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => {
    heard += text;
    for (const each of look) each();
  });
  for (const event of ["error", "close"])
    socket.on(event, () => {
      isBroken = true;
      for (const each of look) each();
    });
  const until = (done: () => boolean, ms: number): Promise<void> => waitUntil(look, () => done() || isBroken, ms);
  socket.connect({ host: probe.address, port: probe.port });
  await until(() => heard.includes("\n"), 600);
  if (!heard.includes("\n")) {
    socket.destroy();
    return undefined;
  }
  return {
    probe,
    endpoint: heard.split(" ")[0] ?? "",
    async fate() {
      heard = "";
      if (!isBroken) socket.write("still there?");
      await until(() => heard.includes("still there?"), 700);
      return heard.includes("still there?") ? "kept" : isBroken ? "broken" : "silent";
    },
    close: () => void socket.destroy(),
  };
}

async function openUdp(world: World, probe: Probe): Promise<Flow | undefined> {
  const six = familyOf(probe.address) === 6;
  const socket = dgram.createSocket(six ? "udp6" : "udp4");
  const any: Address = six ? "::" : "0.0.0.0";
  let heard = "";
  const look = new Set<() => void>();
  socket.on("error", () => {});
  socket.on("message", (bytes) => {
    heard = bytes.toString();
    for (const each of look) each();
  });
  socket.bind({ fd: bindUdpFd(world.namespaceOf(probe.place), { address: any, port: 0 }) });
  const ask = async (): Promise<string> => {
    heard = "";
    for (let tries = 0; tries < 3 && heard === ""; tries++) {
      socket.send("?", probe.port, probe.address, () => {});
      await waitUntil(look, () => heard !== "", 250);
    }
    return heard.split(" ")[0] ?? "";
  };
  const endpoint = await ask();
  return {
    probe,
    endpoint: endpoint === "" ? unanswered : endpoint,
    async fate() {
      const now = await ask();
      return now === "" ? "silent" : now === endpoint ? "kept" : "moved";
    },
    close: () => void socket.close(),
  };
}

function waitUntil(look: Set<() => void>, done: () => boolean, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      look.delete(check);
      resolve();
    };
    const check = (): void => {
      if (done()) finish();
    };
    const timer = setTimeout(finish, ms);
    look.add(check);
    check();
  });
}
