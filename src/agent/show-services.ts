// `fairlead show services`: where connections go from a node, how many went there, and which endpoints get none and why.
//
// Not here: the Program's own text (program/format.ts).

import { familyOf, type Address } from "../ip/address.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import { ineligibleEndpoints } from "../model/eligible.ts";
import type { Network, NetworkNode } from "../model/network.ts";
import { formatOrigin } from "../model/origin.ts";
import { formatServices } from "../program/format.ts";
import { encodeElements } from "../program/nftables/encode.ts";
import { podBehind } from "../model/service.ts";
import type { Program } from "../program/program.ts";

export interface ServicesSeen {
  readonly program: Program;
  readonly network: Network;
  readonly node: NetworkNode | undefined;
  /** Undefined where packets are off. */
  readonly kernel: NetworkKernel | undefined;
  /** Load balancers' addresses that this node answers for. */
  readonly announced: readonly string[];
}

/** Connections to a frontend since its entry was written: `10.96.0.7 tcp 80` -> 12. Frontends nobody asked are missing. */
export function frontendHits(program: Program, kernel: NetworkKernel): ReadonlyMap<string, number> {
  const hits = new Map<string, number>();
  for (const table of program.tables) {
    if (table.family === "bridge") continue;
    const state = kernel.nftTable(table.family, table.name);
    for (const set of table.sets) {
      if (set.counter !== true) continue;
      const counted = new Map(
        (state?.elements.get(set.name) ?? []).flatMap(({ key, packets }) =>
          packets === undefined ? [] : [[Buffer.from(key).toString("hex"), Number(packets)] as const],
        ),
      );
      if (counted.size === 0) continue;
      for (const [index, { key }] of encodeElements(set, set.elements).entries()) {
        const count = counted.get(Buffer.from(key).toString("hex"));
        const name = set.elements[index]?.key.join(" ");
        if (count !== undefined && name !== undefined) hits.set(name, (hits.get(name) ?? 0) + count);
      }
    }
  }
  return hits;
}

/** In words: the Program's frontends, then hits, then endpoints that get nothing. */
export function servicesText({ program, network, node, kernel, announced }: ServicesSeen): string {
  const hits = kernel === undefined ? undefined : frontendHits(program, kernel);
  const asked = [...(hits ?? [])].map(([key, count]) => {
    const [address = "", protocol = "", port = ""] = key.split(" ");
    return `  ${place(address, port)}/${protocol}  ${count} ${count === 1 ? "connection" : "connections"}\n`;
  });
  const idle = node === undefined ? [] : idleEndpoints(network, node);
  return [
    formatServices(program),
    ...section(
      "announced by this node on the underlay",
      announced.map((address) => `  ${address}\n`),
    ),
    ...section("connections so far", asked),
    ...section("endpoints that get no new connections from here", idle),
  ].join("");
}

function place(address: Address, port: number | string): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [`\n${title}\n`, ...lines];
}

/** Each endpoint once, though several ports of a Service may lead to it. */
function idleEndpoints(network: Network, node: NetworkNode): readonly string[] {
  const lines = network.services.flatMap((service) =>
    service.headless
      ? []
      : service.ports.flatMap((port) =>
          ineligibleEndpoints(port.endpoints, {
            scope: service.internalTrafficPolicy === "Local" ? "local" : "cluster",
            node,
          }).map(({ endpoint, why }) => {
            const who = podBehind(endpoint) ?? formatOrigin(endpoint.origin);
            return `  ${service.namespace}/${service.name}  ${place(endpoint.address, endpoint.port)}  ${who}: ${why}\n`;
          }),
        ),
  );
  return [...new Set(lines)];
}
