// What every NetworkKernel must do, the one in memory and the real one: the rules that apply/ is built on.
// Run by fake.test.ts and, in real namespaces, by linux.conformance.net.test.ts. A rule that only one of them keeps is a defect of the fake.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import type { NftBatchItem } from "../wire/netlink/nftables.ts";
import { carriersUp } from "./carrier.ts";
import { KernelError, type Change, type NetworkKernel } from "./kernel.ts";

/** Two fresh namespaces, `lo` up, nothing else in them. */
export interface Bench {
  readonly kernel: NetworkKernel;
  readonly other: NetworkKernel;
  readonly otherFd: number;
  /** Somebody else's hand: not through `kernel`. Deletions of routes and addresses, and links up and down. */
  byHand(change: Change): void;
  /** The other namespace ends. */
  destroyOther(): void;
  close(): void;
}

/** Defines the suite for one implementation. */
export function conformance(name: string, open: () => Bench): void {
  describe(`conformance of ${name}`, () => {
    let bench: Bench;
    beforeEach(() => {
      bench = open();
    });
    afterEach(() => bench.close());
    /** Makes changes that must all succeed. */
    const make = (...changes: Change[]): void => {
      for (const [index, result] of bench.kernel.change(changes).entries())
        assert.ok(result.ok, `${changes[index]?.kind}: ${result.ok ? "" : result.error.message}`);
    };
    /** The code one change is refused with; undefined where it succeeds. */
    const codeOf = (change: Change): string | undefined => {
      const [result] = bench.kernel.change([change]);
      assert.ok(result);
      return result.ok ? undefined : result.error.code;
    };
    const link = (wanted: string) => bench.kernel.links().find((one) => one.name === wanted);

    linkRules(() => ({ bench, make, codeOf, link }));
    routeRules(() => ({ bench, make, codeOf, link }));
    tableRules(() => bench);
    monitorRules(() => ({ bench, make, codeOf, link }));
  });
}

interface Tools {
  readonly bench: Bench;
  readonly make: (...changes: Change[]) => void;
  readonly codeOf: (change: Change) => string | undefined;
  readonly link: (name: string) => ReturnType<NetworkKernel["links"]>[number] | undefined;
}

type ChangeOf<K extends Change["kind"]> = Extract<Change, { kind: K }>;

const bridge: ChangeOf<"create-bridge"> = {
  kind: "create-bridge",
  name: "br",
  mac: "02:00:00:00:00:01",
  mtu: 1450,
  alias: "ours",
};
const bridgeUp: Change = { kind: "set-link", name: "br", addressGeneration: "none", up: true };
const vxlan: ChangeOf<"create-vxlan"> = {
  kind: "create-vxlan",
  name: "vx",
  mac: "02:00:00:00:00:02",
  mtu: 1450,
  vni: 7,
  port: 4789,
  local: "192.0.2.1",
};
const pair: ChangeOf<"create-veth"> = {
  kind: "create-veth",
  name: "near",
  mtu: 1450,
  peer: { name: "far", mac: "02:00:00:00:00:03" },
};
const port: ChangeOf<"set-link"> = {
  kind: "set-link",
  name: "near",
  master: "br",
  addressGeneration: "none",
  up: true,
};

function linkRules(tools: () => Tools): void {
  describe("links", () => {
    test("a bridge is what was asked for", () => {
      const { make, link } = tools();
      make(bridge, bridgeUp);
      const { kind, mac, mtu, up, alias } = link("br") ?? {};
      assert.deepEqual(
        { kind, mac, mtu, up, alias },
        { kind: "bridge", mac: "02:00:00:00:00:01", mtu: 1450, up: true, alias: "ours" },
      );
    });

    test("a vxlan link is what was asked for, and learns nothing", () => {
      const { make, link } = tools();
      make(vxlan);
      assert.deepEqual(link("vx")?.vxlan, { vni: 7, port: 4789, local: "192.0.2.1", learning: false });
    });

    test("a name is taken once, and has 15 characters at most", () => {
      const { make, codeOf } = tools();
      make(bridge);
      assert.equal(codeOf(bridge), "EEXIST");
      assert.equal(codeOf({ ...bridge, name: "sixteen-letters1" }), "ERANGE");
    });

    test("a second vxlan link of one number and port is refused", () => {
      const { make, codeOf } = tools();
      make(vxlan);
      assert.equal(codeOf({ ...vxlan, name: "vx2" }), "EEXIST");
    });

    test("changes of a link that is not there: ENODEV; its deletion is no error", () => {
      const { codeOf } = tools();
      assert.equal(codeOf({ kind: "set-link", name: "nothing", up: true }), "ENODEV");
      assert.equal(codeOf({ kind: "set-address", link: "nothing", address: "10.0.0.1", bits: 32 }), "ENODEV");
      assert.equal(codeOf({ kind: "delete-link", name: "nothing" }), undefined);
    });

    test("the links of a group go together, other links stay", () => {
      const { bench, make } = tools();
      const names = ["one", "two"];
      for (const name of names) make({ kind: "create-veth", name, mtu: 1450, peer: { name: `${name}-far` } });
      make(bridge, ...names.map((name): Change => ({ kind: "set-link", name, group: 77 })));
      make({ kind: "delete-link-group", group: 77 }, { kind: "delete-link-group", group: 77 });
      assert.deepEqual(
        bench.kernel.links().map((one) => one.name),
        ["lo", "br"],
      );
    });

    test("one failing change stops none of the others", () => {
      const { bench, link } = tools();
      const results = bench.kernel.change([bridge, { kind: "set-link", name: "nothing", up: true }, bridgeUp]);
      assert.deepEqual(
        results.map((result) => result.ok),
        [true, false, true],
      );
      assert.equal(link("br")?.up, true);
    });

    test("a veth pair goes with either end, also across namespaces", () => {
      const { bench, make, link } = tools();
      make({ ...pair, peer: { name: "eth0", namespaceFd: bench.otherFd } });
      assert.ok(bench.other.links().some((one) => one.name === "eth0"));
      assert.deepEqual(
        bench.other.change([{ kind: "delete-link", name: "eth0" }]).map((result) => result.ok),
        [true],
      );
      assert.equal(link("near"), undefined);
    });

    test("a veth link runs when both ends are up", async () => {
      const { bench, make, link } = tools();
      make(pair, { kind: "set-link", name: "near", up: true });
      assert.equal(link("near")?.running, false);
      assert.deepEqual(bench.kernel.idleLinks(["near", "nothing"]), ["near"]);
      make({ kind: "set-link", name: "far", up: true });
      assert.equal(link("near")?.running, true);
      await carriersUp(bench.kernel, ["near", "far"]);
      assert.deepEqual(bench.kernel.idleLinks(["near", "far"]), []);
    });

    test("a macvlan link has its lower one's carrier but for its own being taken, and goes with it", async () => {
      const { bench, make, codeOf } = tools();
      const far = () => bench.other.links().find(({ name }) => name === "eth0");
      const mac = "02:00:00:00:00:05";
      const shared: Change = {
        kind: "create-macvlan",
        name: "eth0",
        mac,
        mtu: 1400,
        lower: "near",
        namespaceFd: bench.otherFd,
      };
      assert.equal(codeOf(shared), "ENODEV");
      make(pair, shared, { kind: "set-link", name: "near", up: true }, { kind: "set-link", name: "far", up: true });
      assert.deepEqual([far()?.kind, far()?.mac, far()?.mtu], ["macvlan", mac, 1400]);
      for (const settings of [{ up: true }, { protoDown: true, macvlanMode: "private" as const }])
        assert.ok(bench.other.change([{ kind: "set-link", name: "eth0", ...settings }])[0]?.ok);
      assert.equal(far()?.running, false);
      bench.other.change([{ kind: "set-link", name: "eth0", protoDown: false, macvlanMode: "bridge" }]);
      assert.deepEqual(await carriersUp(bench.other, ["eth0"]), []);
      assert.equal(far()?.running, true);
      make({ kind: "delete-link", name: "near" });
      assert.equal(far(), undefined);
    });

    test("carriers are taken of macvlan and vxlan links only, and modes given to the former", () => {
      const { make, codeOf } = tools();
      make(pair);
      assert.equal(codeOf({ kind: "set-link", name: "near", protoDown: true }), "EOPNOTSUPP");
      assert.equal(codeOf({ kind: "set-link", name: "near", macvlanMode: "private" }), "EOPNOTSUPP");
    });

    test("port settings need a bridge, and are lost with it", () => {
      const { make, codeOf, link } = tools();
      make(pair, bridge);
      const isolate: Change = { kind: "set-bridge-port", name: "near", settings: { isolated: true, learning: false } };
      assert.equal(codeOf(isolate), "EOPNOTSUPP");
      make(port, isolate);
      assert.equal(link("near")?.bridgePort?.isolated, true);
      assert.equal(link("near")?.bridgePort?.learning, false);
      assert.equal(link("near")?.bridgePort?.unicastFlood, true);
      make({ kind: "delete-link", name: "br" });
      assert.equal(link("near")?.master, undefined);
      assert.equal(link("near")?.bridgePort, undefined);
    });

    test("only a bridge takes ports", () => {
      const { make, codeOf } = tools();
      make(pair, vxlan);
      assert.equal(codeOf({ kind: "set-link", name: "near", master: "vx" }), "EOPNOTSUPP");
    });

    test("a forwarding entry needs a bridge port or a tunnel, and goes with the port", () => {
      const { bench, make, codeOf } = tools();
      const entry: Change = { kind: "set-forwarding", link: "near", mac: "02:00:00:00:00:09" };
      const entries = () =>
        bench.kernel
          .forwarding()
          .filter((one) => !one.own && one.static)
          .map((one) => `${one.link} ${one.mac} ${one.remote ?? ""}`.trim());
      make(pair, bridge, vxlan);
      assert.equal(codeOf(entry), "EOPNOTSUPP");
      make(port, entry, { kind: "set-forwarding", link: "vx", mac: "02:00:00:00:00:08", remote: "192.0.2.2" });
      assert.deepEqual(entries().sort(), ["near 02:00:00:00:00:09", "vx 02:00:00:00:00:08 192.0.2.2"]);
      make({ kind: "set-forwarding", link: "vx", mac: "02:00:00:00:00:08", remote: "192.0.2.3" });
      assert.deepEqual(entries().sort(), ["near 02:00:00:00:00:09", "vx 02:00:00:00:00:08 192.0.2.3"]);
      make({ kind: "delete-forwarding", link: "vx", mac: "02:00:00:00:00:08", remote: "192.0.2.2" });
      assert.equal(entries().length, 2, "another destination's deletion changes nothing");
      make({ kind: "set-link", name: "near", master: null });
      assert.deepEqual(entries(), ["vx 02:00:00:00:00:08 192.0.2.3"]);
    });

    test("a forwarding entry follows its address to another port", () => {
      const { bench, make } = tools();
      make(bridge, pair, port, { kind: "create-veth", name: "near2", mtu: 1450, peer: { name: "far2" } });
      make({ kind: "set-link", name: "near2", master: "br" });
      make({ kind: "set-forwarding", link: "near", mac: "02:00:00:00:00:09" });
      make({ kind: "set-forwarding", link: "near2", mac: "02:00:00:00:00:09" });
      const where = bench.kernel.forwarding().filter((one) => one.mac === "02:00:00:00:00:09");
      assert.deepEqual(
        where.map((one) => one.link),
        ["near2"],
      );
    });

    test("down takes routes, neighbours and IPv6 addresses; IPv4 addresses stay", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      make({ kind: "set-link", name: "br", up: false });
      assert.deepEqual(seen(bench.kernel), { addresses: ["10.0.0.1/24"], routes: [], neighbours: [] });
    });

    test("deletion takes everything", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      assert.deepEqual(seen(bench.kernel), {
        addresses: ["10.0.0.1/24", "fd00::1/64"],
        routes: ["10.9.0.0/16", "fd09::/64"],
        neighbours: ["10.0.0.2", "fd00::2"],
      });
      make({ kind: "delete-link", name: "br" });
      assert.deepEqual(seen(bench.kernel), { addresses: [], routes: [], neighbours: [] });
    });
  });
}

const protocol = 0xf1;
const dressing: readonly Change[] = [
  { kind: "set-address", link: "br", address: "10.0.0.1", bits: 24 },
  { kind: "set-address", link: "br", address: "fd00::1", bits: 64 },
  { kind: "set-neighbour", link: "br", address: "10.0.0.2", mac: "02:00:00:00:00:05" },
  { kind: "set-neighbour", link: "br", address: "fd00::2", mac: "02:00:00:00:00:05" },
  { kind: "set-route", to: "10.9.0.0/16", action: "forward", link: "br", via: "10.0.0.2", metric: 100, protocol },
  { kind: "set-route", to: "fd09::/64", action: "forward", link: "br", via: "fd00::2", metric: 100, protocol },
];

function seen(kernel: NetworkKernel): { addresses: string[]; routes: string[]; neighbours: string[] } {
  return {
    addresses: kernel
      .addresses()
      .filter((one) => one.link === "br" && one.scope !== "link")
      .map((one) => `${one.address}/${one.bits}`)
      .sort(),
    routes: kernel
      .routes()
      .filter((one) => one.protocol === protocol)
      .map((one) => one.to)
      .sort(),
    neighbours: kernel
      .neighbours()
      .filter((one) => one.permanent)
      .map((one) => one.address)
      .sort(),
  };
}

function routeRules(tools: () => Tools): void {
  describe("addresses and routes", () => {
    const route = (to: string, rest: Partial<Extract<Change, { kind: "set-route" }>>): Change => ({
      kind: "set-route",
      to,
      action: "forward",
      metric: 100,
      protocol,
      ...rest,
    });
    const routesTo = (kernel: NetworkKernel, to: string) =>
      kernel.routes().filter((one) => one.to === to && one.table === 254);

    test("no address is tentative: duplicate detection would make a pod wait", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      assert.deepEqual(
        bench.kernel.addresses().filter((one) => one.tentative),
        [],
      );
    });

    test("a route reads back as it was set, and set again replaces it", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      for (const [to, via, source] of [
        ["10.8.0.0/16", "10.0.0.2", "10.0.0.1"],
        ["fd08::/64", "fd00::2", "fd00::1"],
      ] as const) {
        make(route(to, { link: "br", via }), route(to, { link: "br", via, source, mtu: 1400 }));
        const [only, ...rest] = routesTo(bench.kernel, to);
        assert.deepEqual(rest, []);
        const { action, link, metric, mtu } = only ?? {};
        assert.deepEqual(
          [action, link, only?.via, only?.source, metric, mtu, only?.protocol],
          ["forward", "br", via, source, 100, 1400, protocol],
        );
      }
    });

    test("two metrics are two routes; a deletion hits its own metric and protocol only", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      for (const to of ["10.8.0.0/16", "fd08::/64"]) {
        make(route(to, { link: "br" }), route(to, { link: "br", metric: 200, protocol: 4 }));
        make({ kind: "delete-route", to, metric: 200, protocol });
        assert.equal(routesTo(bench.kernel, to).length, 2);
        make({ kind: "delete-route", to, metric: 100, protocol });
        assert.deepEqual(
          routesTo(bench.kernel, to).map((one) => one.protocol),
          [4],
        );
      }
    });

    test("a gateway nobody can reach is refused, unless it is said to be on the link", () => {
      const { make, codeOf } = tools();
      make(bridge, bridgeUp, ...dressing);
      assert.equal(codeOf(route("10.8.0.0/16", { link: "br", via: "172.16.0.1" })), "ENETUNREACH");
      assert.equal(codeOf(route("fd08::/64", { link: "br", via: "fd55::1" })), "EHOSTUNREACH");
      assert.equal(codeOf(route("10.8.0.0/16", { link: "br", via: "172.16.0.1", onlink: true })), undefined);
      assert.equal(codeOf(route("fd08::/64", { link: "br", via: "fd55::1", onlink: true })), undefined);
    });

    test("a link that is down carries no route", () => {
      const { make, codeOf } = tools();
      make(bridge);
      assert.equal(codeOf(route("10.8.0.0/16", { link: "br" })), "ENETDOWN");
      assert.equal(codeOf(route("fd08::/64", { link: "br" })), "ENETDOWN");
    });

    test("a source must be an address of ours", () => {
      const { make, codeOf } = tools();
      make(bridge, bridgeUp, ...dressing);
      assert.equal(codeOf(route("10.8.0.0/16", { link: "br", source: "10.77.0.1" })), "EINVAL");
      assert.equal(codeOf(route("fd08::/64", { link: "br", source: "fd77::1" })), "EINVAL");
    });

    test("unreachable routes need no link and read back", () => {
      const { bench, make } = tools();
      for (const to of ["10.8.0.0/16", "fd08::/64"]) {
        make(route(to, { action: "unreachable" }));
        assert.deepEqual(
          routesTo(bench.kernel, to).map((one) => [one.action, one.link, one.protocol]),
          [["unreachable", undefined, protocol]],
        );
      }
    });

    test("an IPv4 route goes with the address that is its source", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing, route("10.8.0.0/16", { link: "br", source: "10.0.0.1" }));
      make({ kind: "delete-address", link: "br", address: "10.0.0.1", bits: 24 });
      assert.deepEqual(routesTo(bench.kernel, "10.8.0.0/16"), []);
    });

    test("a link's last IPv4 address takes all IPv4 neighbours and routes of the link with it, and nothing of IPv6", () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing, { kind: "set-address", link: "br", address: "10.0.0.9", bits: 32 });
      make(route("10.8.0.0/16", { link: "br" }), route("fd08::/64", { link: "br" }));
      const permanent = (): readonly string[] =>
        bench.kernel
          .neighbours()
          .flatMap(({ link, address }) => (link === "br" ? [address] : []))
          .filter((address) => address === "10.0.0.2" || address === "fd00::2")
          .sort();
      make({ kind: "delete-address", link: "br", address: "10.0.0.1", bits: 24 });
      assert.deepEqual(permanent(), ["10.0.0.2", "fd00::2"]);
      assert.equal(routesTo(bench.kernel, "10.8.0.0/16").length, 1);
      make({ kind: "delete-address", link: "br", address: "10.0.0.9", bits: 32 });
      assert.deepEqual(permanent(), ["fd00::2"]);
      assert.deepEqual(routesTo(bench.kernel, "10.8.0.0/16"), []);
      assert.equal(routesTo(bench.kernel, "fd08::/64").length, 1);
    });

    test("deleting what is not there is no error", () => {
      const { make } = tools();
      make(bridge);
      make(
        { kind: "delete-address", link: "br", address: "10.0.0.1", bits: 24 },
        { kind: "delete-route", to: "10.8.0.0/16", metric: 100, protocol },
        { kind: "delete-route", to: "fd08::/64", metric: 100, protocol },
        { kind: "delete-neighbour", link: "br", address: "10.0.0.2" },
        { kind: "delete-neighbour", link: "nothing", address: "10.0.0.2" },
        { kind: "delete-forwarding", link: "nothing", mac: "02:00:00:00:00:09" },
      );
    });

    test("sysctls are written, read back trimmed, and unknown ones are undefined", () => {
      const { kernel } = tools().bench;
      kernel.writeSysctl("net/ipv4/ip_forward", "1");
      assert.equal(kernel.readSysctl("net/ipv4/ip_forward"), "1");
      assert.equal(kernel.readSysctl("net/ipv4/nothing"), undefined);
      assert.throws(
        () => kernel.writeSysctl("net/ipv4/nothing", "1"),
        (error) => error instanceof KernelError && error.code === "ENOENT",
      );
    });
  });
}

// enum nf_inet_hooks, NF_ACCEPT; enum nft_verdicts: NFT_GOTO
const forwardHook = 2;
const NF_ACCEPT = 1;
const NFT_GOTO = -4;

function tableRules(bench: () => Bench): void {
  describe("nftables", () => {
    const at = { family: "inet", table: "t" } as const;
    const key = (last: number): Uint8Array => Uint8Array.of(10, 0, 0, last);
    const table: NftBatchItem = { kind: "add-table", ...at };
    const chain = (name: string): NftBatchItem => ({ kind: "add-chain", ...at, chain: { name } });
    const base: NftBatchItem = {
      kind: "add-chain",
      ...at,
      chain: { name: "forward", base: { type: "filter", hook: forwardHook, priority: 0, policy: NF_ACCEPT } },
    };
    // nft's type numbers: ipv4_addr is 7; a verdict map's data type is 0xffffff00.
    const map: NftBatchItem = {
      kind: "add-set",
      ...at,
      set: { name: "m", flags: 8, keyType: 7, keyLength: 4, dataType: 0xffffff00 },
    };
    const element = (last: number, target: string): NftBatchItem => ({
      kind: "add-elements",
      ...at,
      set: "m",
      elements: [{ key: key(last), verdict: { code: NFT_GOTO, chain: target } }],
    });
    const removal = (last: number): NftBatchItem => ({
      kind: "delete-elements",
      ...at,
      set: "m",
      elements: [{ key: key(last) }],
    });
    // payload: base 1 is the network header, source address at 12; register 1 is the first of 16 bytes.
    const lookup: NftBatchItem = {
      kind: "add-rule",
      ...at,
      chain: "forward",
      rule: {
        expressions: [
          { kind: "meta-load", key: 15, dreg: 1 },
          { kind: "cmp", sreg: 1, op: 0, data: Uint8Array.of(2) },
          { kind: "payload", dreg: 1, base: 1, offset: 12, length: 4 },
          { kind: "lookup", set: "m", sreg: 1, dreg: 0, inverted: false },
        ],
      },
    };
    const commit = (...batch: NftBatchItem[]): void => bench().kernel.nftCommit(batch);
    const refusal = (...batch: NftBatchItem[]): { code: string; index: number | undefined } => {
      try {
        commit(...batch);
      } catch (error) {
        assert.ok(error instanceof KernelError, String(error));
        return { code: error.code, index: error.index };
      }
      throw new assert.AssertionError({ message: "the transaction was accepted" });
    };
    const elements = (): number | undefined => bench().kernel.nftTable("inet", "t")?.elements.get("m")?.length;

    test("a table reads back as it was made", () => {
      commit(table, chain("a"), base, map, element(1, "a"), lookup);
      const state = bench().kernel.nftTable("inet", "t");
      assert.deepEqual(state?.chains.map((one) => one.name).sort(), ["a", "forward"]);
      assert.equal(state?.rules.get("forward")?.length, 1);
      assert.deepEqual(state?.elements.get("m"), [{ key: key(1), verdict: { code: NFT_GOTO, chain: "a" } }]);
      assert.deepEqual(
        [...bench().kernel.nftElements("inet", "t", ["m", "other"])],
        [["m", [{ key: key(1), verdict: { code: NFT_GOTO, chain: "a" } }]]],
      );
      assert.equal(bench().kernel.nftElements("ip", "t", ["m"]).size, 0);
      assert.equal(bench().kernel.nftTable("inet", "other"), undefined);
      assert.equal(bench().kernel.nftTable("ip", "t"), undefined);
    });

    test("nothing of a failing transaction is in force, and the failing item is named", () => {
      commit(table, chain("a"), map);
      assert.deepEqual(refusal(element(1, "a"), chain("b"), removal(9)), { code: "ENOENT", index: 2 });
      assert.equal(elements(), 0);
      assert.deepEqual(
        bench()
          .kernel.nftTable("inet", "t")
          ?.chains.map((one) => one.name),
        ["a"],
      );
    });

    test("what is missing is ENOENT: table, set, chain, target, element", () => {
      assert.equal(refusal(chain("a")).code, "ENOENT");
      commit(table);
      assert.equal(refusal(element(1, "a")).code, "ENOENT");
      commit(map, base);
      assert.equal(refusal(element(1, "a")).code, "ENOENT");
      assert.equal(refusal({ kind: "delete-chain", ...at, chain: "a" }).code, "ENOENT");
      assert.equal(refusal(removal(1)).code, "ENOENT");
    });

    test("what is still used is EBUSY: a set by a rule, a chain by an element", () => {
      commit(table, chain("a"), base, map, element(1, "a"), lookup);
      assert.equal(refusal({ kind: "delete-set", ...at, set: "m" }).code, "EBUSY");
      assert.equal(refusal({ kind: "delete-chain", ...at, chain: "a" }).code, "EBUSY");
      commit({ kind: "flush-chain", ...at, chain: "forward" }, { kind: "delete-set", ...at, set: "m" });
      commit({ kind: "delete-chain", ...at, chain: "a" });
    });

    test("an element again is no error with equal data, and EEXIST with other data; replaced in one transaction", () => {
      commit(table, chain("a"), chain("b"), map, element(1, "a"));
      commit(element(1, "a"));
      assert.equal(refusal(element(1, "b")).code, "EEXIST");
      commit(removal(1), element(1, "b"));
      assert.equal(bench().kernel.nftTable("inet", "t")?.elements.get("m")?.[0]?.verdict?.chain, "b");
    });

    test("rules are deleted by handle, and a table with all it holds", () => {
      commit(table, base, map, lookup, lookup);
      const [first] = bench().kernel.nftTable("inet", "t")?.rules.get("forward") ?? [];
      assert.ok(first?.handle !== undefined);
      const gone: NftBatchItem = { kind: "delete-rule", ...at, chain: "forward", handle: first.handle };
      commit(gone);
      assert.equal(refusal(gone).code, "ENOENT");
      assert.equal(bench().kernel.nftTable("inet", "t")?.rules.get("forward")?.length, 1);
      commit({ kind: "delete-table", ...at });
      assert.equal(bench().kernel.nftTable("inet", "t"), undefined);
    });
  });
}

function monitorRules(tools: () => Tools): void {
  describe("monitor", () => {
    const ourHand: Change = { kind: "set-link", name: "br", up: true };

    test("somebody else's hand is told, ours is not", async () => {
      const { bench, make } = tools();
      make(bridge, bridgeUp, ...dressing);
      const kinds: string[] = [];
      let told = (): void => {};
      const monitor = bench.kernel.monitor((event) => {
        kinds.push(event.kind);
        told();
      });
      const next = async (): Promise<void> => {
        if (kinds.length === 0) await new Promise<void>((resolve) => (told = resolve));
      };
      make(ourHand, { kind: "set-address", link: "br", address: "10.1.0.1", bits: 24 });
      bench.byHand({ kind: "delete-route", to: "10.9.0.0/16", metric: 100, protocol });
      await next();
      assert.deepEqual([...new Set(kinds)], ["route"]);
      kinds.length = 0;
      make({ kind: "delete-address", link: "br", address: "10.1.0.1", bits: 24 });
      bench.byHand({ kind: "delete-address", link: "br", address: "10.0.0.1", bits: 24 });
      await next();
      assert.ok(kinds.includes("address"), kinds.join(", "));
      monitor.close();
    });

    test("a pod's namespace that ends is a link that goes", async () => {
      const { bench, make } = tools();
      make(bridge, { ...pair, peer: { name: "eth0", namespaceFd: bench.otherFd } }, port);
      const gone = new Promise<void>((resolve) => {
        const monitor = bench.kernel.monitor((event) => {
          if (event.kind !== "link" || bench.kernel.links().some((one) => one.name === "near")) return;
          monitor.close();
          resolve();
        });
      });
      bench.destroyOther();
      await gone;
    });
  });
}
