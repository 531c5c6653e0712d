// Load balancers on real nodes: `fairlead agent` on three nodes of one link gives Services addresses from a pool, one node answers for each
// by ARP and Neighbour Discovery, and another one goes on when its wire is pulled. A client on the same link knows nothing but the link.
// Needs: nft

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";

import { familyOf, type Address } from "../../src/ip/address.ts";
import type { Mac } from "../../src/ip/mac.ts";
import { hostPrefix } from "../../src/ip/prefix.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { openPacketSocket, type PacketSocket } from "../../src/kernel/packet-socket.ts";
import type { Service } from "../../src/kube/kinds.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { arpRequest, decodeArp, encodeArp, nobody } from "../../src/wire/layer2/arp.ts";
import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  neighbourSolicitation,
} from "../../src/wire/layer2/neighbour-discovery.ts";
import { closeServers, serve } from "./agent-node.testing.ts";
import {
  endAll,
  nodeObject,
  runFairlead,
  serviceObjects,
  startApi,
  type AgentProcess,
  type TestApi,
} from "./agent.testing.ts";

const names = ["node-1", "node-2", "node-3"] as const;
const serverOf = { 4: "172.18.0.1", 6: "fd00:172:18::1" } as const;

for (const scope of ["services", "all"] as const)
  describe(`three nodes and a client on one link, --only ${scope}`, () => threeNodes(scope));

function threeNodes(scope: "services" | "all"): void {
  let topology: Topology;
  let api: TestApi;
  let client: Machine;
  let asker: Asker;
  const agents = new Map<string, AgentProcess>();
  /** These hear nobody. */
  const deaf = new Set<string>();

  before(async () => {
    topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"] });
    const machines = names.map((name, index) =>
      topology.addNode(name, [`172.18.0.1${index + 1}`, `fd00:172:18::1${index + 1}`]),
    );
    client = topology.addNode("client", ["172.18.0.99", "fd00:172:18::99"]);
    // Only its own link: who answers there, or nobody.
    for (const to of ["0.0.0.0/0", "::/0"])
      client.kernel.change([{ kind: "delete-route", to, metric: 1024, protocol: 4 }]);
    serve(topology.underlay.namespace, "web");
    api = await startApi(machines.map(({ namespace }) => namespace));
    api.api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "kube-system" } });
    for (const [index, { name, addresses }] of machines.entries())
      api.api.create(nodeObject(name, addresses, [`10.244.${index}.0/24`, `fd00:10:244:${index}::/64`]));
    for (const { name, namespace, kernel } of machines) {
      for (const path of ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]) kernel.writeSysctl(path, "1");
      start(name, namespace);
    }
    for (const agent of agents.values()) await agent.says(/programmed \d+ changes/);
    asker = openAsker(client);
  });
  after(async () => {
    asker.close();
    await endAll();
    closeServers();
    api.close();
    topology.close();
  });

  const start = (name: string, namespace: NetworkNamespace): void => {
    const agent = runFairlead(
      namespace,
      "agent",
      `--kubeconfig=${api.kubeconfig}`,
      `--node=${name}`,
      "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56",
      ...(scope === "services" ? ["--only=services"] : []),
      ...["cni-dir", "state-dir", "cni-bin-dir", "cni-conf-dir"].map(
        (flag) => `--${flag}=${join(api.folder, name, flag)}`,
      ),
    );
    agents.set(name, agent);
  };
  const machine = (name: string): Machine => {
    const found = topology.nodes.get(name);
    assert.ok(found);
    return found;
  };
  const macOf = (name: string): Mac =>
    machine(name)
      .kernel.links()
      .find((link) => link.name === "eth0")?.mac ?? "";
  const ends = (name: string, family: 4 | 6): { mac: Mac; address: Address } => ({
    mac: macOf(name),
    address: machine(name).addresses.find((each) => familyOf(each) === family) ?? "",
  });
  const nameOf = (mac: Mac | undefined): string | undefined => names.find((name) => macOf(name) === mac);
  const service = (name: string): Service | undefined =>
    api.api.get({ group: "", resource: "services", namespace: "default", name }) as Service | undefined;
  const addressesOf = (name: string): readonly Address[] =>
    (service(name)?.status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? "");
  const addressOf = (name: string, family: 4 | 6): Address =>
    addressesOf(name).find((address) => familyOf(address) === family) ?? "";
  /** Whose hardware address the client remembers. */
  const remembered = (address: Address): string | undefined =>
    nameOf(client.kernel.neighbours().find((entry) => entry.address === address)?.mac);
  const create = (name: string, clusterIps: readonly Address[]): void => {
    const [first = "", second = ""] = clusterIps;
    const endpoints = (family: 4 | 6): { address: Address; node: string }[] => [
      { address: serverOf[family], node: "elsewhere" },
    ];
    const [, slice] = serviceObjects(name, first, endpoints(4));
    const [, slice6] = serviceObjects(name, second, endpoints(6));
    const [object] = serviceObjects(name, first, [], {
      type: "LoadBalancer",
      clusterIPs: clusterIps,
      ipFamilies: ["IPv4", "IPv6"],
      ipFamilyPolicy: "RequireDualStack",
    });
    assert.ok(object && slice && slice6);
    const { metadata } = slice6;
    for (const each of [object, slice, { ...slice6, metadata: { ...metadata, name: `${name}-6` } }])
      api.api.create(each);
  };
  /** Asks for an address, and knows that all who would have answered have: each agent has answered a question that came after. */
  const whoAnswers = async (address: Address, fence = addressOf("fence", familyOf(address))): Promise<string[]> => {
    for (;;) {
      const before = asker.answers.length;
      asker.ask(address);
      let tries = 0;
      for (const name of names)
        if (!deaf.has(name)) tries = Math.max(tries, await asker.askAgent(fence, ends(name, familyOf(address))));
      // Who asks too often is not answered: then the first question may not have been, either.
      if (tries > 1) continue;
      const answers = asker.answers.slice(before).filter((answer) => answer.address === address && !answer.isProbe);
      return answers.map(({ mac }) => nameOf(mac) ?? mac);
    }
  };
  const holderOf = async (address: Address): Promise<string> => {
    for (;;) {
      const [holder, ...more] = await whoAnswers(address);
      if (holder !== undefined && more.length === 0) return holder;
    }
  };
  const connects = async (address: Address, timeoutMs = 250): Promise<boolean> => {
    const result = await probeTcp(client.namespace, { address, port: 80, read: true, timeoutMs });
    if (result.outcome !== "answered") return false;
    assert.match(result.said ?? "", /^web /);
    return true;
  };

  void test("a pool is made: Services get their addresses, one node answers for each, the client reaches them", async () => {
    create("fence", ["10.96.0.101", "fd00:10:96::65"]);
    create("web", ["10.96.0.100", "fd00:10:96::64"]);
    assert.deepEqual(addressesOf("web"), []);
    api.api.create({
      apiVersion: "fairlead.dev/v1alpha1",
      kind: "LoadBalancerPool",
      metadata: { name: "default" },
      spec: { addresses: ["172.18.255.0/24", "fd00:172:18::ff00/120"] },
    });
    await until(api, () => addressesOf("web").length === 2 && addressesOf("fence").length === 2);
    for (const family of [4, 6] as const) {
      const address = addressOf("web", family);
      for (const name of names) await asker.askAgent(address, ends(name, family));
      const holder = await holderOf(address);
      assert.ok(await connects(address, 5000));
      assert.equal(remembered(address), holder);
      const shown = runFairlead(
        machine(holder).namespace,
        "show",
        "services",
        "--here",
        "--cni-dir",
        join(api.folder, holder, "cni-dir"),
      );
      assert.equal(await shown.ended, 0, shown.lines.join("\n"));
      const from = shown.lines.findIndex((line) => line.startsWith("announced by this node"));
      assert.ok(from >= 0 && shown.lines.slice(from).includes(`  ${address}`), shown.lines.join("\n"));
      // Another port of the address is refused, not swallowed.
      const other = await probeTcp(client.namespace, { address, port: 81 });
      assert.equal(other.outcome, "refused");
    }
    const counts = await Promise.all(names.map((name) => announcedCount(machine(name))));
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      4,
    );
  });

  /** Excludes a node from answering, or takes it in again. */
  const exclude = (name: string, isExcluded: boolean): void => {
    if (isExcluded) deaf.add(name);
    else deaf.delete(name);
    const object = api.api.get({ group: "", resource: "nodes", name });
    assert.ok(object);
    const { [excludeLabel]: _label, ...labels } = object.metadata.labels ?? {};
    const all = isExcluded ? { ...labels, [excludeLabel]: "" } : labels;
    api.api.update({ ...object, metadata: { ...object.metadata, labels: all } });
  };
  /** All who said that they have the address while it moved, each as often as the word passed to it. */
  const whileItMoves = async (
    address: Address,
    ...moves: readonly (readonly [() => void, to: string])[]
  ): Promise<string[]> => {
    const said: string[] = [];
    const recorder = record(client, address, (mac) => {
      const name = nameOf(mac) ?? mac;
      if (said.at(-1) !== name) said.push(name);
    });
    const asking = setInterval(() => recorder.ask(), 5);
    // Who answers to begin with; and in the end nobody else, for as long as what was sent may be under way.
    while (said.length === 0) await connects(address);
    for (const [move, to] of moves) {
      move();
      while (said.at(-1) !== to) await connects(address);
    }
    assert.ok(await connects(address, 5000));
    await whoAnswers(address);
    clearInterval(asking);
    recorder.close();
    return said;
  };

  /** Who has the address while the first one may not. */
  const nextOf = async (address: Address, first: string): Promise<string> => {
    exclude(first, true);
    let next = first;
    while (next === first) next = await holderOf(address);
    exclude(first, false);
    while ((await holderOf(address)) !== first);
    return next;
  };

  // The same code in both.
  if (scope === "services") {
    for (const family of [4, 6] as const)
      void test(`IPv${family}: an address moves between nodes that are both there, and never two say that they have it`, async () => {
        const address = addressOf("web", family);
        const first = await holderOf(address);
        const second = await nextOf(address, first);
        assert.deepEqual(await whileItMoves(address, [() => exclude(first, true), second]), [first, second]);
        assert.deepEqual(await whileItMoves(address, [() => exclude(first, false), first]), [second, first]);
      });

    void test("a node whose wire was pulled comes back: the other lets go before it begins", async () => {
      const address = addressOf("web", 4);
      const first = await holderOf(address);
      const second = await nextOf(address, first);
      const set = (state: "up" | "down"): void => {
        if (state === "up") deaf.delete(first);
        else deaf.add(first);
        topology.setUplink(first, state);
      };
      assert.deepEqual(await whileItMoves(address, [() => set("down"), second]), [first, second]);
      assert.deepEqual(await whileItMoves(address, [() => set("up"), first]), [second, first]);
    });

    for (const family of [4, 6] as const)
      void test(`IPv${family}: a holder that is held up while its address moves answers nothing that has waited for it`, async () => {
        const address = addressOf("web", family);
        const first = await holderOf(address);
        const second = await nextOf(address, first);
        const agent = agents.get(first);
        assert.ok(agent);
        const moved = (): void => {
          agent.send("SIGSTOP");
          exclude(first, true);
        };
        // It goes on as soon as another has the address: it was held up for half a second, which alone makes nobody ask who has it now.
        const goOn = (): void => {
          agent.send("SIGCONT");
          exclude(first, false);
        };
        assert.deepEqual(await whileItMoves(address, [moved, second], [goOn, first]), [first, second, first]);
      });

    void test("an agent that is held up for long enough to be given up answers for nothing when it goes on", async () => {
      const address = addressOf("web", 4);
      const first = await holderOf(address);
      const second = await nextOf(address, first);
      const agent = agents.get(first);
      assert.ok(agent);
      const hold = (): void => {
        deaf.add(first);
        agent.send("SIGSTOP");
      };
      const goOn = (): void => {
        deaf.delete(first);
        agent.send("SIGCONT");
      };
      assert.deepEqual(await whileItMoves(address, [hold, second]), [first, second]);
      // There are hundreds of questions that wait for it.
      assert.deepEqual(await whileItMoves(address, [goOn, first]), [second, first]);
    });
  }

  const cases = [
    { family: 4, what: "wire" },
    { family: 6, what: "wire" },
    { family: 4, what: "link" },
  ] as const;
  for (const { family, what } of cases)
    void test(`IPv${family}: the holder's ${what} goes down, another node goes on; it comes back, and the address with it`, async (context) => {
      const address = addressOf("web", family);
      const holder = await holderOf(address);
      const set = (state: "up" | "down"): void => {
        if (what === "wire") topology.setUplink(holder, state);
        else machine(holder).kernel.change([{ kind: "set-link", name: "eth0", up: state === "up" }]);
      };
      assert.ok(await connects(address, 5000));
      assert.equal(remembered(address), holder);
      await moves(context, `IPv${family}, ${what} down`, address, () => set("down"), holder);
      set("up");
      // Setting a link down takes its IPv6 addresses away; whoever configures the node puts them back.
      const own = machine(holder).addresses.find((each) => familyOf(each) === 6) ?? "";
      machine(holder).kernel.change([{ kind: "set-address", link: "eth0", address: own, bits: 64 }]);
      while (remembered(address) !== holder) await connects(address);
      assert.equal(await holderOf(address), holder);
    });

  /** Connects again and again until another node answers than before; says how long it took. */
  const moves = async (
    context: TestContext,
    what: string,
    address: Address,
    cause: () => void,
    from: string,
  ): Promise<void> => {
    cause();
    const began = performance.now();
    let tries = 0;
    while (!(await connects(address))) tries++;
    assert.notEqual(remembered(address), from);
    context.diagnostic(`${what}: connected again after ${(performance.now() - began).toFixed(0)} ms, ${tries} tries`);
  };

  // The rest is the same code in both.
  if (scope === "all") return;

  void test("an agent that is started anew leaves its addresses where they are; one that stays away loses them", async (context) => {
    const address = addressOf("web", 4);
    const holder = await holderOf(address);
    const agent = agents.get(holder);
    assert.ok(agent);
    assert.ok(await connects(address, 5000));
    const others = [...agents].flatMap(([name, { lines }]) => (name === holder ? [] : [{ lines, from: lines.length }]));
    await agent.end("SIGKILL");
    const began = performance.now();
    const moved = new RegExp(`${address.replaceAll(".", "\\.")}: announced here, for nothing is heard of ${holder}`);
    // Its kernel goes on: connections do not notice.
    assert.ok(await connects(address, 5000));
    while (!others.some(({ lines, from }) => lines.slice(from).some((line) => moved.test(line))))
      await connects(address);
    context.diagnostic(`an agent that is gone: its address moved after ${(performance.now() - began).toFixed(0)} ms`);
    assert.ok(await connects(address, 5000));
    assert.notEqual(remembered(address), holder);
    start(holder, machine(holder).namespace);
    while (remembered(address) !== holder) await connects(address);
    assert.equal(await holderOf(address), holder);
  });

  void test("a Service is deleted: nobody answers any more", async () => {
    const addresses = addressesOf("web");
    assert.equal(addresses.length, 2);
    api.api.delete({ group: "", resource: "services", namespace: "default", name: "web" });
    for (const address of addresses) while ((await whoAnswers(address)).length > 0);
  });
}

const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** All on a link that says who has the address, as the client hears it: answers to its questions, and what is told to all. */
function record(client: Machine, address: Address, said: (mac: Mac) => void): { ask(): void; close(): void } {
  const link = client.kernel.links().find(({ name }) => name === "eth0");
  assert.ok(link?.mac);
  const { index, mac: ownMac } = link;
  // A neighbour of no hardware address that stays, so that nobody takes the client for another.
  const own = familyOf(address) === 4 ? "172.18.0.97" : "fd00:172:18::97";
  const protocol = familyOf(address) === 4 ? "arp" : "ipv6";
  const came = (frame: Uint8Array): void => {
    const packet = protocol === "arp" ? decodeArp(frame) : undefined;
    // Agents' answers to each other are about whether they are there.
    if (packet?.senderAddress === address && packet.targetAddress !== nobody) said(packet.senderMac);
    const message = protocol === "arp" ? undefined : decodeNeighbourMessage(frame);
    if (message?.kind === "advertisement" && message.target === address) said(message.targetMac ?? message.source);
  };
  // One socket for all of it: which of two began first is what is to be known.
  const socket = openPacketSocket(client.namespace, {
    link: index,
    linkName: "eth0",
    wanted: { kind: "said", protocol, about: [hostPrefix(address)] },
    came,
    most: { frames: 5000, spanMs: 250 },
  });
  let askers = 0;
  return {
    ask() {
      // Each time another station, as one alone is told forty times a second; of the answers those to the client's own card are heard.
      const mac = askers % 25 === 0 ? ownMac : `02:00:00:00:${hex(askers >> 8)}:${hex(askers)}`;
      askers++;
      const from = { mac, address: own };
      const question =
        protocol === "arp"
          ? encodeArp(arpRequest(from, address))
          : encodeNeighbourMessage(neighbourSolicitation(from, address));
      assert.ok(socket.send(question));
    },
    close: () => socket.close(),
  };
}

function hex(byte: number): string {
  return (byte & 255).toString(16).padStart(2, "0");
}

interface Answer {
  readonly address: Address;
  readonly mac: Mac;
  readonly isProbe: boolean;
}

/** Asks on the client's link, and remembers all answers. */
interface Asker {
  readonly answers: readonly Answer[];
  /** As any neighbour does. */
  ask(address: Address): void;
  /** As agents ask each other, until there is an answer; how often it was asked. */
  askAgent(address: Address, node: { readonly mac: Mac; readonly address: Address }): Promise<number>;
  close(): void;
}

function openAsker(client: Machine): Asker {
  const link = client.kernel.links().find(({ name }) => name === "eth0");
  assert.ok(link?.mac);
  const { mac, index } = link;
  const answers: Answer[] = [];
  const waiting = new Set<() => void>();
  const note = (answer: Answer): void => {
    answers.push(answer);
    for (const look of waiting) look();
  };
  const open = (protocol: "arp" | "ipv6", came: (frame: Uint8Array) => void): PacketSocket =>
    openPacketSocket(client.namespace, {
      link: index,
      linkName: "eth0",
      wanted: { kind: "answered", protocol, about: [protocol === "arp" ? "0.0.0.0/0" : "::/0"] },
      came,
    });
  // Agents are asked in another name, so that their answers are told from those to neighbours.
  const probing = "fd00:172:18::98";
  const sockets = {
    4: open("arp", (frame) => {
      const packet = decodeArp(frame);
      assert.ok(packet);
      note({ address: packet.senderAddress, mac: packet.senderMac, isProbe: packet.targetAddress === nobody });
    }),
    6: open("ipv6", (frame) => {
      const message = decodeNeighbourMessage(frame);
      if (message?.kind !== "advertisement" || !message.solicited) return;
      const isProbe = message.destinationAddress === probing;
      note({ address: message.target, mac: message.targetMac ?? message.source, isProbe });
    }),
  } as const;
  const has = (from: number, isIt: (answer: Answer) => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!answers.slice(from).some(isIt)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  const ownOf = { 4: "172.18.0.99", 6: "fd00:172:18::99" } as const;
  const send = (address: Address, node?: { readonly mac: Mac; readonly address: Address }): void => {
    const family = familyOf(address);
    const frame =
      family === 4
        ? encodeArp(arpRequest({ mac, address: node === undefined ? ownOf[4] : nobody }, address, node?.mac))
        : encodeNeighbourMessage(
            neighbourSolicitation({ mac, address: node === undefined ? ownOf[6] : probing }, address, node),
          );
    assert.ok(sockets[family].send(frame));
  };
  return {
    answers,
    ask: (address) => send(address),
    async askAgent(address, node) {
      const from = answers.length;
      let tries = 0;
      const ask = (): void => {
        tries++;
        send(address, node);
      };
      const again = setInterval(ask, 500);
      ask();
      await has(from, (answer) => answer.isProbe && answer.mac === node.mac && answer.address === address);
      clearInterval(again);
      return tries;
    },
    close() {
      for (const socket of Object.values(sockets)) socket.close();
    },
  };
}

async function announcedCount({ namespace }: Machine): Promise<number> {
  const answer = await probeTcp(namespace, {
    address: "127.0.0.1",
    port: 10_249,
    send: "GET /metrics HTTP/1.0\r\n\r\n",
    read: true,
  });
  return Number(/^fairlead_load_balancer_addresses (\d+)$/m.exec(answer.said ?? "")?.[1]);
}

/** Resolves when it is so; looks after every write of a Service. The test's own limit says when it is too late. */
async function until(api: TestApi, isSo: () => boolean): Promise<void> {
  if (isSo()) return;
  await new Promise<void>((resolve) => {
    const watch = api.api.watch({ group: "", resource: "services" }, api.api.revision, () => {
      if (!isSo()) return;
      watch.close();
      resolve();
    });
  });
}
