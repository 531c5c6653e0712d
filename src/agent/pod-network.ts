// How a pod gets and loses its network on this node: address, veth pair, the pod's own routes, and its part of the node's Program.
//
// ADD returns only when the Program that guards and reaches the pod is in the kernel, so nothing runs in a pod that is not isolated yet.
// What an ADD that fails has made is undone before it throws. DEL of anything, any number of times, succeeds.
// Not here: the pod's namespace (its maker owns it), and the bridge port's settings (apply/links.ts).

import { closeSync, constants, fstatSync, openSync } from "node:fs";

import { addressBytes, familyOf, type Address, type Family } from "../ip/address.ts";
import { macBytes, macFromBytes, macOfName, type Mac } from "../ip/mac.ts";
import { addressBits, contains, hostPrefix, prefixBits } from "../ip/prefix.ts";
import { deleteLinks, linkAlias } from "../apply/links.ts";
import { isWholeTable, type Failure, type ReconcileReport } from "../apply/report.ts";
import { carriersUp } from "../kernel/carrier.ts";
import { KernelError, mustChange, type Change, type NetworkKernel } from "../kernel/kernel.ts";
import type { Attachment } from "../model/network.ts";
import { gatewayOf } from "../program/places.ts";
import { names, routeProtocol, type BridgeLink } from "../program/program.ts";
import type { Agent } from "./agent.ts";
import type { AttachmentStore } from "./attachments.ts";
import { isNetworkNamespace } from "../kernel/namespaces.ts";
import {
  CniError,
  attachmentId,
  cniCodes,
  containerOf,
  interfaceOf,
  type CniNetwork,
  type CniRequest,
  type CniResult,
} from "../serve/cni/cni.ts";
import { exhausted, type Ipam } from "./ipam.ts";

export interface PodNetworkOptions {
  /** The node's name, for messages. */
  readonly node: string;
  readonly kernel: NetworkKernel;
  readonly agent: Agent;
  readonly attachments: AttachmentStore;
  readonly ipam: Ipam;
  /** Opens the kernel of a pod's namespace; closed again within the call. */
  readonly openKernel: (name: string, namespaceFd: number) => NetworkKernel;
  /** What tells one namespace from another behind a descriptor; undefined where there is none behind it. By default its inode (nsfs). */
  readonly namespaceId?: (namespaceFd: number) => string | undefined;
}

/** The pod network of a node. */
export type NodePodNetwork = CniNetwork;

/**
 * Functions of CNI's shape over a node's agent. Attachments from before whose link is not there have died with their namespaces
 * (the machine, or the lab, was started anew): their addresses are free again. Where the namespace is there, the link is made again.
 */
export function createPodNetwork(options: PodNetworkOptions): NodePodNetwork {
  const { node, kernel, agent, attachments, ipam, openKernel, namespaceId = namespaceInode } = options;
  /** Operations on one sandbox run one after another, those of different sandboxes together. */
  const queues = new Map<string, Promise<unknown>>();
  /** Namespaces of living sandboxes, to make a link again that somebody deleted. The descriptor is its maker's and may be another's by then: hence the id. */
  const sandboxes = new Map<string, { namespaceFd: number; id: string | undefined }>();

  /** Ends the watch over a new pod's hardware address. */
  const followers = new Map<string, () => void>();

  const links = kernel.links();
  const present = new Set(links.map((link) => link.name));
  for (const attachment of attachments.list().filter(({ link }) => !present.has(link))) {
    if (namespaceExists(attachment)) continue;
    attachments.remove(attachment.id);
    ipam.release(attachment.addresses);
  }
  // An agent that was killed between a link and its alias leaves one that nobody knows to be ours, but by a name that nobody else gives.
  const wanted = new Set(attachments.list().map(({ link }) => link));
  const orphans = links.filter(({ name, kind }) => kind === "veth" && isPodLinkName(name) && !wanted.has(name));
  if (orphans.length > 0) kernel.change(deleteLinks(orphans.map(({ name }) => name)));

  const inTurn = async <T>(containerId: string, work: () => Promise<T>): Promise<T> => {
    const before = queues.get(containerId);
    const mine = (async () => {
      await before?.catch(() => {});
      return work();
    })();
    queues.set(containerId, mine);
    try {
      return await mine;
    } finally {
      if (queues.get(containerId) === mine) queues.delete(containerId);
    }
  };

  const add = async (request: CniRequest): Promise<CniResult> => {
    const { namespaceFd } = request;
    if (namespaceFd === undefined) throw new CniError(4, `${adding(request)}: no network namespace was given`);
    if (attachments.get(idOf(request)) !== undefined) {
      throw new CniError(
        100,
        `${adding(request)}: interface ${request.interfaceName} of sandbox ${request.containerId} has a network already: DEL comes first`,
      );
    }
    // The bridge must be there before anything can be attached to it.
    const bridge = await readyBridge(agent, request);
    const sandbox = { namespaceFd, id: namespaceId(namespaceFd) };
    const place =
      request.namespacePath === undefined || sandbox.id === undefined
        ? undefined
        : { path: request.namespacePath, inode: sandbox.id };
    const attachment = newAttachment(request, ipam.allocate(request.addresses), place);
    const { interfaceName } = request;
    let inside: NetworkKernel | undefined;
    try {
      inside = await placed({ attachment, bridge, namespaceFd, interfaceName });
      const [report] = await Promise.all([agent.synced(), attachments.flushed()]);
      refuseHalfDone(report, attachment, request);
      await carry(attachment, bridge, inside, request);
      if (attachment.sandbox === undefined) inside.close();
      else follow(attachment, bridge, inside, interfaceName);
    } catch (error) {
      inside?.close();
      await remove(attachment);
      throw error instanceof CniError ? error : new CniError(100, `${adding(request)}: ${messageOf(error)}`);
    }
    return resultOf(attachment, bridge, request, gatewayFor);
  };

  /** Pods that come in one turn of the event loop get their places together. */
  let waiting: { readonly wanted: WantedLink; readonly settled: PromiseWithResolvers<NetworkKernel> }[] = [];
  const placed = (wanted: WantedLink): Promise<NetworkKernel> => {
    if (waiting.length === 0) setImmediate(placeAll);
    const settled = Promise.withResolvers<NetworkKernel>();
    waiting.push({ wanted, settled });
    return settled.promise;
  };
  /** In one go: an attachment without a link would be taken for one whose link was lost. */
  const placeAll = (): void => {
    const all = waiting;
    waiting = [];
    for (const { wanted } of all) {
      const { attachment, namespaceFd } = wanted;
      attachments.put(attachment);
      sandboxes.set(attachment.id, { namespaceFd, id: namespaceId(namespaceFd) });
    }
    try {
      const results = makeLinks(all.map(({ wanted }) => wanted));
      for (const [index, { settled }] of all.entries()) {
        const result = results[index];
        if (result === undefined || result instanceof Error) settled.reject(result);
        else settled.resolve(result);
      }
    } catch (error) {
      for (const { settled } of all) settled.reject(error);
    }
  };

  /**
   * Veth pairs and the pods' ends of them, in one go: nothing may come between. The kernels of the pods' namespaces, open, or why there
   * is no link.
   */
  const makeLinks = (all: readonly WantedLink[]): readonly (NetworkKernel | Error)[] => {
    const created = kernel.change(all.map(createPair));
    return all.map((wanted, index) => {
      const result = created[index];
      if (result?.ok === false) return result.error;
      const { attachment, bridge, namespaceFd, interfaceName } = wanted;
      let inside: NetworkKernel | undefined;
      try {
        inside = openKernel(`pod ${attachment.namespace}/${attachment.name}`, namespaceFd);
        const routed = defaultsOf(inside, interfaceName);
        mustChange(inside, podChanges(attachment, bridge, interfaceName, gatewayFor, routed));
        return inside;
      } catch (error) {
        inside?.close();
        // The agent may not have seen it yet, and would not know that it is ours to remove.
        kernel.change([{ kind: "delete-link", name: attachment.link }]);
        return error instanceof Error ? error : new Error(String(error));
      }
    });
  };

  /** The pod's end first: a carrier is there when both ends are up, but each end acts on it by itself. */
  const carry = async (
    attachment: Attachment,
    bridge: BridgeLink,
    inside: NetworkKernel,
    request: CniRequest,
  ): Promise<void> => {
    const idle = [
      ...(await carriersUp(inside, [request.interfaceName])),
      ...(await carriersUp(kernel, [attachment.link, bridge.name])),
    ];
    if (idle.length > 0) throw new CniError(11, `${adding(request)}: link ${idle.join(", ")} has no carrier`);
  };

  /**
   * A plugin that is called after us may give the pod's link another hardware address (tuning's `mac`): guard, neighbour and bridge follow for as
   * long as a chain of plugins takes. Nobody gets an address that is another's. `inside` is closed at the end.
   */
  const follow = (attachment: Attachment, bridge: BridgeLink, inside: NetworkKernel, interfaceName: string): void => {
    const look = (): void => {
      const now = attachments.get(attachment.id);
      const mac = inside.links().find((link) => link.name === interfaceName)?.mac;
      if (now === undefined || mac === undefined || mac === now.mac || mac === bridge.mac || isGroup(mac)) return;
      if (attachments.list().some((other) => other.mac === mac)) return;
      attachments.put({ ...now, mac });
    };
    const monitor = inside.monitorLinks(look);
    const timer = setTimeout(() => followers.get(attachment.id)?.(), followMs);
    timer.unref();
    followers.set(attachment.id, () => {
      followers.delete(attachment.id);
      clearTimeout(timer);
      monitor.close();
      inside.close();
    });
  };

  const gatewayFor = (address: Address): Address => {
    const range = ipam.ranges.find((one) => contains(one, address));
    if (range === undefined) throw new CniError(100, `address ${address} lies in no pod range of ${node}`);
    return gatewayOf(range);
  };

  /** Out of the Program, and with it the link; only then is the address another's: nobody ever inherits a pod's guard or policy. */
  const remove = async (attachment: Attachment): Promise<void> => {
    followers.get(attachment.id)?.();
    attachments.remove(attachment.id);
    sandboxes.delete(attachment.id);
    // A stopped agent has nothing in force to wait for: the next one starts from the attachments that are left.
    await agent.synced().catch(() => mustChange(kernel, [{ kind: "delete-link", name: attachment.link }]));
    ipam.release(attachment.addresses);
    await attachments.flushed();
  };

  /** Does something in a pod's namespace where it can be found. */
  const withNamespace = (attachment: Attachment, work: (namespaceFd: number) => void): void => {
    const sandbox = sandboxes.get(attachment.id);
    const held = sandbox?.id !== undefined && namespaceId(sandbox.namespaceFd) === sandbox.id;
    if (held) return work(sandbox.namespaceFd);
    const opened = openNamespaceOf(attachment);
    if (opened === undefined) return;
    try {
      work(opened);
    } finally {
      closeSync(opened);
    }
  };

  /**
   * The underlay's MTU, or the way between nodes, has changed: the node's end of each pod's link has been set by the Program; the pod's own end
   * must follow, or what it sends is too long for the other one and lost without a word.
   */
  let mtu: number | undefined;
  agent.onReconciled(() => {
    const bridge = bridgeOf(agent);
    if (bridge === undefined || bridge.mtu === mtu) return;
    mtu = bridge.mtu;
    for (const attachment of attachments.list()) {
      withNamespace(attachment, (namespaceFd) => {
        const inside = openKernel(`pod ${attachment.namespace}/${attachment.name}`, namespaceFd);
        const name = interfaceOf(attachment.id);
        try {
          const link = inside.links().find((one) => one.name === name);
          if (link !== undefined && link.mtu !== bridge.mtu)
            inside.change([{ kind: "set-link", name, mtu: bridge.mtu }]);
        } finally {
          inside.close();
        }
      });
    }
  });

  agent.onLostLinks((lost) => {
    const bridge = bridgeOf(agent);
    if (bridge === undefined) return false;
    let made = false;
    for (const attachment of lost) {
      withNamespace(attachment, (namespaceFd) => {
        const interfaceName = interfaceOf(attachment.id);
        for (const result of makeLinks([{ attachment, bridge, namespaceFd, interfaceName }])) {
          // The namespace may be going away right now: its DEL follows.
          if (result instanceof KernelError) continue;
          if (result instanceof Error) throw result;
          result.close();
          made = true;
        }
      });
    }
    return made;
  });

  return {
    add: (request) => inTurn(request.containerId, () => add(request)),
    delete: (request) =>
      inTurn(request.containerId, async () => {
        const attachment = attachments.get(idOf(request));
        if (attachment !== undefined) await remove(attachment);
      }),
    check: (request) =>
      inTurn(request.containerId, async () => {
        const attachment = attachments.get(idOf(request));
        if (attachment === undefined)
          throw new CniError(
            cniCodes.failed,
            `check pod ${podOf(request)}: sandbox ${request.containerId} has no network here`,
          );
        const report = await agent.synced();
        refuseHalfDone(report, attachment, request);
        const inside =
          request.namespaceFd === undefined ? undefined : openKernel(`pod ${podOf(request)}`, request.namespaceFd);
        try {
          const missing = missingOf(attachment, kernel, inside, request);
          if (missing.length > 0)
            throw new CniError(
              cniCodes.notAsMade,
              `check pod ${podOf(request)}: not as it was made: ${missing.join(", ")}`,
            );
        } finally {
          inside?.close();
        }
      }),
    async collect(valid, network) {
      const dead = attachments
        .list()
        .filter((one) => !valid.has(one.id) && (network === undefined || (one.network ?? network) === network));
      const results = await Promise.allSettled(
        dead.map((attachment) => inTurn(containerOf(attachment.id), () => remove(attachment))),
      );
      const reasons = results.flatMap((result) => (result.status === "rejected" ? [messageOf(result.reason)] : []));
      if (reasons.length > 0)
        throw new CniError(cniCodes.failed, `collect dead sandboxes of ${node}: ${reasons.join("; ")}`);
      // Also what others are taking away right now.
      await attachments.flushed();
      return dead.map((attachment) => attachment.id);
    },
    async status() {
      const bridge = bridgeOf(agent);
      if (bridge === undefined) throw new CniError(cniCodes.unavailable, `node ${node}: ${noBridge}`, noBridgeCure);
      // Without its tables no pod is guarded, and none would be added.
      const refused = agent.failures().find(isWholeTable);
      if (refused !== undefined)
        throw new CniError(cniCodes.unavailable, `node ${node}: ${refused.text}: ${refused.error.message}`);
      const reason = exhausted(ipam);
      if (reason !== undefined)
        throw new CniError(
          cniCodes.limitedConnectivity,
          `node ${node}: ${reason}`,
          "delete pods on this node, or give nodes larger pod ranges",
        );
    },
  };
}

/** A chain of plugins takes milliseconds, and a slow one seconds. */
const followMs = 10_000;
interface WantedLink {
  readonly attachment: Attachment;
  readonly bridge: BridgeLink;
  readonly namespaceFd: number;
  readonly interfaceName: string;
}

function createPair({ attachment, bridge, namespaceFd, interfaceName }: WantedLink): Change {
  const { link, mac, namespace, name } = attachment;
  return {
    kind: "create-veth",
    name: link,
    mac: hostMac(attachment),
    mtu: bridge.mtu,
    alias: `${linkAlias} pod ${namespace}/${name}`,
    peer: { name: interfaceName, mac, namespaceFd },
  };
}

/** The host's end of a sandbox's veth pair: a name of at most 15 characters that is a function of the attachment's id alone. */
export function podLinkName(id: string): string {
  return names.podLinkPrefix + macOfName(id).replaceAll(":", "");
}

function isPodLinkName(name: string): boolean {
  return name.startsWith(names.podLinkPrefix) && /^[0-9a-f]{12}$/.test(name.slice(names.podLinkPrefix.length));
}

/** The attachment a request gets with these addresses: a function of both alone. */
export function newAttachment(
  request: CniRequest,
  addresses: readonly Address[],
  sandbox?: Attachment["sandbox"],
): Attachment {
  const id = idOf(request);
  return {
    id,
    ...(request.network !== undefined && { network: request.network }),
    ...(sandbox !== undefined && { sandbox }),
    namespace: request.podNamespace,
    name: request.podName,
    uid: request.podUid,
    link: podLinkName(id),
    mac: request.mac ?? macOfAddress(addresses[0] ?? ""),
    addresses,
    hostPorts: request.portMappings.map(({ containerPort, ...mapping }) => ({ ...mapping, port: containerPort })),
  };
}

/** `0a:58:` and the last four bytes of the first address: no two pods of a node share one, and people can read it. */
function macOfAddress(address: Address): Mac {
  return macFromBytes(Uint8Array.from([0x0a, 0x58, ...addressBytes(address).slice(-4)]));
}

/** Families in which the pod has a default route by another interface already: that one stays. */
function defaultsOf(inside: NetworkKernel, interfaceName: string): ReadonlySet<Family> {
  if (interfaceName === "eth0") return none;
  const routes = inside.routes().filter(({ to, link }) => prefixBits(to) === 0 && link !== interfaceName);
  return new Set(routes.map(({ to }) => familyOf(to)));
}

const none: ReadonlySet<Family> = new Set();

/** What the pod's own namespace gets. Every packet goes to the gateway, whose hardware address is known beforehand. */
function podChanges(
  attachment: Attachment,
  bridge: BridgeLink,
  link: string,
  gatewayFor: (address: Address) => Address,
  routed: ReadonlySet<Family>,
): readonly Change[] {
  const up: readonly Change[] = [
    { kind: "set-link", name: "lo", up: true },
    { kind: "set-link", name: link, mtu: bridge.mtu, addressGeneration: "none", up: true },
  ];
  return [
    ...up,
    ...attachment.addresses.flatMap((address) =>
      addressChanges({
        address,
        gateway: gatewayFor(address),
        link,
        gatewayMac: bridge.mac,
        toAll: routed.has(familyOf(address)) ? "somebody else's" : "ours",
      }),
    ),
  ];
}

function addressChanges(of: {
  readonly address: Address;
  readonly gateway: Address;
  readonly link: string;
  readonly gatewayMac: Mac;
  /** Whose the route to everywhere is. */
  readonly toAll: "ours" | "somebody else's";
}): readonly Change[] {
  const { address, gateway, link, gatewayMac, toAll } = of;
  const family = familyOf(address);
  // IPv6 takes 1024 for none.
  const route = { action: "forward", link, metric: family === 4 ? 0 : 1024, protocol: routeProtocol } as const;
  return [
    { kind: "set-address", link, address, bits: addressBits(family) },
    { kind: "set-neighbour", link, address: gateway, mac: gatewayMac },
    { kind: "set-route", to: hostPrefix(gateway), scope: "link", ...route },
    ...(toAll === "ours"
      ? [{ kind: "set-route", to: family === 4 ? "0.0.0.0/0" : "::/0", via: gateway, ...route } as const]
      : []),
  ];
}

function resultOf(
  attachment: Attachment,
  bridge: BridgeLink,
  { interfaceName, containerId }: CniRequest,
  gatewayFor: (address: Address) => Address,
): CniResult {
  const { addresses, link, mac } = attachment;
  return {
    interfaces: [
      { name: link, mac: hostMac(attachment), mtu: bridge.mtu },
      { name: interfaceName, mac, mtu: bridge.mtu, sandbox: containerId },
    ],
    ips: addresses.map((address) => ({
      address,
      bits: addressBits(familyOf(address)),
      gateway: gatewayFor(address),
      interface: 1,
    })),
    routes: addresses.map((address) => ({
      dst: familyOf(address) === 4 ? "0.0.0.0/0" : "::/0",
      gw: gatewayFor(address),
    })),
  };
}

function hostMac(attachment: Attachment): Mac {
  return macOfName(attachment.link);
}

// ---------------------------------------------------------------- what can go wrong

async function readyBridge(agent: Agent, request: CniRequest): Promise<BridgeLink> {
  const bridge = bridgeOf(agent) ?? ((await agent.synced()) && bridgeOf(agent));
  if (bridge === undefined) {
    throw new CniError(cniCodes.tryAgainLater, `${adding(request)}: ${noBridge}`, noBridgeCure);
  }
  return bridge;
}

const noBridge = "the node's Program has no pod bridge yet";
const noBridgeCure = "the node is not in the cluster, or it has no pod range (Node spec.podCIDRs)";

function bridgeOf(agent: Agent): BridgeLink | undefined {
  return agent.program()?.links.find((link) => link.kind === "bridge");
}

/** A pod starts only when all that isolates and reaches it is in force; another entry of the node may have its troubles. */
function refuseHalfDone(report: ReconcileReport, attachment: Attachment, request: CniRequest): void {
  if (report.failures.length + report.lostLinks.length === 0) return;
  const own = new Set([attachment.link, attachment.mac, ...attachment.addresses]);
  const concerns = (failure: Failure): boolean =>
    isWholeTable(failure) || failure.key.split(/[ /]/).some((word) => own.has(word));
  const failure = report.failures.find(concerns);
  const lost = report.lostLinks.includes(attachment.link);
  if (failure === undefined && !lost) return;
  const reason = failure?.error.message ?? `link ${attachment.link} disappeared`;
  throw new CniError(11, `${adding(request)}: the node's Program is not wholly in force: ${reason}`);
}

function namespaceInode(namespaceFd: number): string | undefined {
  try {
    return String(fstatSync(namespaceFd).ino);
  } catch {
    return undefined;
  }
}

/** The namespace an attachment was made in, by its path; undefined where the path is unknown or means no namespace any more. The caller closes it. */
function openNamespaceOf({ sandbox }: Attachment): number | undefined {
  if (sandbox === undefined) return undefined;
  try {
    const fd = openSync(sandbox.path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (isNetworkNamespace(fd) && namespaceInode(fd) === sandbox.inode) return fd;
    closeSync(fd);
  } catch {
    // Gone, as namespaces of dead sandboxes are.
  }
  return undefined;
}

function namespaceExists(attachment: Attachment): boolean {
  const fd = openNamespaceOf(attachment);
  if (fd !== undefined) closeSync(fd);
  return fd !== undefined;
}

/** IEEE 802: the lowest bit of the first byte. */
function isGroup(mac: Mac): boolean {
  return ((macBytes(mac)[0] ?? 0) & 1) === 1;
}

function idOf({ containerId, interfaceName }: CniRequest): string {
  return attachmentId(containerId, interfaceName);
}

function adding(request: CniRequest): string {
  return `add pod ${podOf(request)} to the network`;
}

function podOf(request: CniRequest): string {
  return `${request.podNamespace}/${request.podName}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What CHECK finds missing or changed, in words; chained plugins may have added what they like. */
function missingOf(
  attachment: Attachment,
  host: NetworkKernel,
  inside: NetworkKernel | undefined,
  { interfaceName, addresses: expected }: CniRequest,
): string[] {
  const missing: string[] = [];
  if (!host.links().some((link) => link.name === attachment.link)) missing.push(`link ${attachment.link} is gone`);
  if (inside === undefined) return missing;
  const link = inside.links().find((one) => one.name === interfaceName);
  if (link === undefined) return [...missing, `link ${interfaceName} of the pod is gone`];
  if (!link.up) missing.push(`link ${interfaceName} of the pod is down`);
  if (link.mac !== attachment.mac) missing.push(`link ${interfaceName} of the pod has address ${link.mac}`);
  const addresses = inside.addresses().filter((one) => one.link === interfaceName);
  const routes = inside.routes();
  for (const address of attachment.addresses) {
    // A later plugin may have taken it out of the result, and then it may be gone.
    if (expected !== undefined && !expected.includes(address)) continue;
    if (!addresses.some((one) => one.address === address)) missing.push(`address ${address} of the pod is gone`);
    const all = familyOf(address) === 4 ? "0.0.0.0/0" : "::/0";
    if (!routes.some((route) => route.to === all)) missing.push(`route ${all} of the pod is gone`);
  }
  return missing;
}
