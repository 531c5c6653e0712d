// What is programmed at a node, in words and as values, each entry with the object that caused it: `fairlead show`, of a lab's nodes and of a
// real one.
//
// Not here: who asks (lab/control-show.ts, show-server.ts).

import type { Drift } from "../apply/report.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import type { Network } from "../model/network.ts";
import { formatProgram, formatRoutes, formatTables } from "../program/format.ts";
import type { Program } from "../program/program.ts";
import { originText } from "../trace/render.ts";
import type { AttachmentStore } from "./attachments.ts";
import { createIpam, type Ipam } from "./ipam.ts";
import { ipamText, ipamView } from "./ipam-text.ts";
import { countsAt, policiesText, policiesValue } from "./show-policies.ts";
import { frontendHits, servicesText } from "./show-services.ts";

export interface Shown {
  readonly text: string;
  readonly value: unknown;
}

/** A node as it is looked at. */
export interface ShownNode {
  readonly name: string;
  /** Pods' network and policies are another's. */
  readonly servicesOnly: boolean;
  readonly network: Network;
  /** Undefined before the first one. */
  readonly program: Program | undefined;
  /** Undefined where packets are off. */
  readonly kernel: NetworkKernel | undefined;
  readonly attachments: AttachmentStore;
  readonly ipam: Ipam | undefined;
  readonly drift: readonly (Drift & { readonly time: string })[];
  /** Load balancers' addresses that the node answers for. */
  readonly announced: readonly string[];
}

type View = (node: ShownNode) => Shown;

/** What can be shown of a node, by name. */
export const views: Readonly<Record<string, View>> = {
  routes: ofPodNetwork((node) =>
    ofProgram(node, formatRoutes, ({ routes, neighbours, forwarding }) => ({ routes, neighbours, forwarding })),
  ),
  services: (node) => {
    const { network, kernel, announced } = node;
    const self = network.nodes.find(({ name }) => name === node.name);
    return ofProgram(
      node,
      (program) => servicesText({ program, network, node: self, kernel, announced }),
      (program) => ({
        sets: program.tables.flatMap(({ family, sets }) => sets.map((set) => ({ family, ...set }))),
        connections: kernel === undefined ? {} : Object.fromEntries(frontendHits(program, kernel)),
        announced,
      }),
    );
  },
  policies: ofPodNetwork(({ name, network, kernel, attachments }) => {
    const node = network.nodes.find((each) => each.name === name);
    const counts = countsAt({ network, node, attachments: attachments.list(), kernel });
    return { text: policiesText(counts), value: policiesValue(counts) };
  }),
  nft: (node) => ofProgram(node, formatTables, ({ tables }) => tables),
  program: (node) => ofProgram(node, formatProgram, (program) => program),
  pods: ofPodNetwork(({ attachments }) => {
    const places = attachments.list();
    const lines = places.map(
      ({ namespace, name, addresses, link, mac }) => `${namespace}/${name}  ${addresses.join(" ")}  ${link}  ${mac}\n`,
    );
    return { text: lines.join(""), value: places };
  }),
  ipam: ofPodNetwork(({ name, network, attachments, ipam }) => {
    const podCidrs = network.nodes.find((each) => each.name === name)?.podCidrs ?? [];
    // Without packets nobody keeps one; the places of the pods say it all.
    const view = ipamView(ipam ?? createIpam(podCidrs, attachments), attachments.list());
    return { text: ipamText(view) || "the node has no pod range yet (Node spec.podCIDRs)\n", value: view };
  }),
  drift: ({ drift }) => {
    const lines = drift.map(
      (one) =>
        `${one.time}  put back (${one.kind})  ${one.text}${one.origin === undefined ? "" : `  # ${originText(one.origin)}`}\n`,
    );
    return { text: lines.join("") || "nothing had to be put back\n", value: drift };
  },
};

/** What an agent for Services alone has no part in. */
function ofPodNetwork(view: View): View {
  const others =
    "this agent keeps Services alone (--only services): pods' addresses, routes and policies are their CNI plugin's\n";
  return (node) => (node.servicesOnly ? { text: others, value: null } : view(node));
}

function ofProgram(
  { program }: ShownNode,
  format: (program: Program) => string,
  value: (program: Program) => unknown,
): Shown {
  return program === undefined ? { text: "", value: null } : { text: format(program), value: value(program) };
}
