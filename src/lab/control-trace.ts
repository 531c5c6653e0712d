// `fairlead trace` in a running lab, and --live: the real packet beside the explanation.

import { familyOf, type Address } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { lookup } from "../program/zone-lookup.ts";
import { queryDns } from "../serve/dns/client.ts";
import { hostsFileCode } from "../trace/names.ts";
import { findStart, trace, TraceQueryError, type TraceQuery } from "../trace/query.ts";
import { isUnasked, type Disposition, type Packet, type Trace } from "../trace/trace.ts";
import type { World } from "../trace/world.ts";
import { rcodeName } from "../wire/dns/message.ts";
import { lowerName } from "../wire/dns/name.ts";
import { StatusError } from "./api/store.ts";
import { firewallsOf } from "./control-status.ts";
import type { Lab } from "./lab.ts";
import { ping, probeTcp, probeUdp, type Outcome } from "./network/probe.ts";

/** How a sent packet ended; `forbidden`: the sender's own kernel did not let it out. */
export type LiveOutcome = Outcome | "forbidden";

/** What really happened when the packet was sent, and whether the trace said so. */
export interface LiveResult {
  readonly outcome: LiveOutcome | "not sent";
  readonly detail: string;
  readonly agrees: boolean;
  /** Where they disagree: what in the nodes the trace knows nothing of, each with its cure. */
  readonly strangers?: readonly string[];
}

export async function traceInLab(
  lab: Lab,
  body: TraceQuery & { readonly live?: boolean },
): Promise<{ trace: Trace; live?: LiveResult }> {
  await lab.programmed();
  const traced = (world: World): Trace => {
    try {
      return trace(world, body);
    } catch (error) {
      if (error instanceof TraceQueryError) throw new StatusError(404, "NotFound", error.message);
      throw error;
    }
  };
  const value = traced(lab.world());
  if (body.live !== true) return { trace: value };
  const others = await askOthers(lab, body, value);
  const whole = others.size === 0 ? value : traced({ ...lab.world(), others });
  return { trace: whole, live: await sendLive(lab, body, whole) };
}

/** Asks cluster DNS for the names that are not the cluster's, as the pod's resolver does: up to the first that has an address. */
async function askOthers(lab: Lab, query: TraceQuery, { name, packet }: Trace): Promise<Map<string, Address[]>> {
  const said = new Map<string, Address[]>();
  const world = lab.world();
  const start = findStart(world, query);
  const namespace = namespaceOf(lab, query);
  if (start.kind !== "pod" || namespace === undefined || name === undefined || packet !== undefined) return said;
  const [server] = world.resolver(start.pod).servers ?? [];
  const alias = /^CNAME (.+)$/.exec(name.rcode)?.[1];
  const names =
    alias === undefined ? name.tried.filter((each) => lookup(world.zone, each, "A") === undefined) : [alias];
  for (const each of server === undefined ? [] : names) {
    const found: Address[] = [];
    for (const type of ["A", "AAAA"] as const) {
      const asked = queryDns(namespace, server ?? "", each, type, { timeoutMs: 3000, tries: 1 });
      const { answers } = await asked.catch(() => ({ answers: [] }));
      found.push(...answers.flatMap(({ data }) => (data.kind === type ? [data.address] : [])));
    }
    if (found.length === 0) continue;
    said.set(lowerName(each), found);
    break;
  }
  return said;
}

/** Sends what the trace speaks of, and compares the two ends. */
export async function sendLive(lab: Lab, query: TraceQuery, value: Trace): Promise<LiveResult> {
  const [question] = value.questions ?? [];
  if (question !== undefined && isUnasked(value)) return sendLive(lab, query, question);
  const { packet } = value;
  if (packet === undefined)
    return { outcome: "not sent", detail: `${value.to} has no address`, agrees: value.disposition !== "delivered" };
  const namespace = namespaceOf(lab, query);
  if (namespace === undefined)
    return {
      outcome: "not sent",
      detail: "no namespace to send from: packets are off, or the pod is not up",
      agrees: true,
    };
  const misnamed = await askLive(lab, query, value, namespace);
  if (misnamed !== undefined) return misnamed;
  if (packet.protocol === "sctp")
    return { outcome: "not sent", detail: "sctp cannot be sent from here: few kernels have it", agrees: true };
  const { outcome, detail } = await send(namespace, { ...packet, protocol: packet.protocol });
  const possible = [...new Set(value.paths.map((path) => path.disposition))];
  if (possible.some((disposition) => isSameEnd(disposition, outcome, packet))) return { outcome, detail, agrees: true };
  return {
    outcome,
    detail,
    agrees: false,
    strangers: firewallsOf(lab).map(({ node, message }) => `${node}: ${message}`),
  };
}

/** Asks cluster DNS for the name as the pod does; undefined where it says what the trace says, or was not to be asked. */
async function askLive(
  lab: Lab,
  query: TraceQuery,
  { name, packet }: Trace,
  namespace: NetworkNamespace,
): Promise<LiveResult | undefined> {
  const world = lab.world();
  const start = findStart(world, query);
  const asked = name?.tried.at(-1);
  if (start.kind !== "pod" || name === undefined || asked === undefined || packet === undefined) return undefined;
  if (name.rcode === hostsFileCode) return undefined;
  const type = familyOf(packet.destination) === 4 ? "A" : "AAAA";
  const refusals: string[] = [];
  for (const server of world.resolver(start.pod).servers ?? []) {
    try {
      const { rcode, answers } = await queryDns(namespace, server, asked, type, { timeoutMs: 1500, tries: 1 });
      const addresses = answers.flatMap(({ data }) => (data.kind === type ? [data.address] : []));
      if (addresses.some((address) => name.answers.includes(address))) return undefined;
      refusals.push(`${server} says ${asked} is ${addresses.join(", ") || rcodeName(rcode)}`);
      break;
    } catch (error) {
      refusals.push(`${server} does not answer: ${(error as Error).message}`);
    }
  }
  if (refusals.length === 0) return undefined;
  const cure =
    "cluster DNS answers by its Corefile: kubectl logs -n kube-system deployment/coredns, kubectl edit -n kube-system configmap coredns";
  return { outcome: "not sent", detail: refusals.join("; "), agrees: false, strangers: [cure] };
}

async function send(
  namespace: NetworkNamespace,
  packet: Packet & { readonly protocol: "tcp" | "udp" | "icmp" },
): Promise<{ outcome: LiveOutcome; detail: string }> {
  const target = { address: packet.destination, port: packet.destinationPort, timeoutMs: 1500 };
  const name = `${packet.protocol} to ${packet.destination}${packet.protocol === "icmp" ? "" : ` port ${packet.destinationPort}`}`;
  switch (packet.protocol) {
    case "tcp": {
      const result = await probeTcp(namespace, target);
      return { outcome: result.outcome, detail: `${name}${result.code === undefined ? "" : ` (${result.code})`}` };
    }
    case "udp": {
      const result = await probeUdp(namespace, target);
      // What a rule drops or rejects in the node's own output hook is not even sent: the sender is told EPERM for both.
      const outcome = result.code === "EPERM" ? "forbidden" : result.outcome;
      return { outcome, detail: `${name}${result.code === undefined ? "" : ` (${result.code})`}` };
    }
    case "icmp": {
      const result = await ping(namespace, target);
      return { outcome: result.outcome, detail: name };
    }
  }
}

/** Silence after a UDP datagram says nothing: many servers answer only what they understand. */
export function isSameEnd(disposition: Disposition, outcome: LiveOutcome, packet: Packet): boolean {
  switch (disposition) {
    case "delivered":
      return outcome === "answered" || (packet.protocol === "udp" && outcome === "timeout");
    case "refused":
      return outcome === "refused" || outcome === "forbidden";
    case "dropped":
      return outcome === "timeout" || outcome === "forbidden";
    case "unreachable":
      return outcome === "unreachable" || outcome === "timeout";
    case "unresolved":
      return false;
  }
}

function namespaceOf(lab: Lab, query: TraceQuery): NetworkNamespace | undefined {
  const start = findStart(lab.world(), query);
  switch (start.kind) {
    case "outside":
      return lab.topology?.internet.namespace;
    case "node":
      return lab.nodes().get(start.node.name)?.machine?.namespace;
    case "pod":
      return lab
        .nodes()
        .get(start.pod.node)
        ?.kubelet?.sandboxOf({ namespace: start.pod.namespace, pod: start.pod.name });
  }
}
