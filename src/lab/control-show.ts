// `fairlead show`: what is programmed, in words, each entry with the object that caused it.

import { createIpam } from "../agent/ipam.ts";
import { ipamText, ipamView } from "../agent/ipam-text.ts";
import { formatProgram, formatRoutes, formatTables } from "../program/format.ts";
import type { Program } from "../program/program.ts";
import { formatZone } from "../program/zone-text.ts";
import { originText } from "../trace/render.ts";
import { StatusError } from "./api/store.ts";
import type { Lab, LabNode } from "./lab.ts";
import { countsAt, policiesText, policiesValue } from "./show-policies.ts";
import { frontendHits, servicesText } from "./show-services.ts";

interface Shown {
  readonly text: string;
  readonly value: unknown;
}

/** What can be shown of a node; `dns` is the cluster's. */
const views: Readonly<Record<string, (lab: Lab, node: LabNode) => Shown>> = {
  routes: (lab, node) =>
    ofProgram(lab, node, formatRoutes, ({ routes, neighbours, forwarding }) => ({ routes, neighbours, forwarding })),
  services: (lab, node) => {
    const network = lab.network();
    const announced = [...(lab.announced ?? [])].flatMap(([address, name]) => (name === node.name ? [address] : []));
    const kernel = node.machine?.kernel;
    const self = network.nodes.find(({ name }) => name === node.name);
    return ofProgram(
      lab,
      node,
      (program) => servicesText({ program, network, node: self, kernel, announced }),
      (program) => ({
        sets: program.tables.flatMap(({ family, sets }) => sets.map((set) => ({ family, ...set }))),
        connections: kernel === undefined ? {} : Object.fromEntries(frontendHits(program, kernel)),
        announced,
      }),
    );
  },
  policies: (lab, node) => {
    const network = lab.network();
    const self = network.nodes.find(({ name }) => name === node.name);
    const attachments = node.attachments.list();
    const counts = countsAt({ network, node: self, attachments, kernel: node.machine?.kernel });
    return { text: policiesText(counts), value: policiesValue(counts) };
  },
  nft: (lab, node) => ofProgram(lab, node, formatTables, ({ tables }) => tables),
  program: (lab, node) => ofProgram(lab, node, formatProgram, (program) => program),
  pods: (_lab, node) => {
    const places = node.attachments.list();
    const lines = places.map(
      ({ namespace, name, addresses, link, mac }) => `${namespace}/${name}  ${addresses.join(" ")}  ${link}  ${mac}\n`,
    );
    return { text: lines.join(""), value: places };
  },
  ipam: (lab, node) => {
    const podCidrs = lab.network().nodes.find(({ name }) => name === node.name)?.podCidrs ?? [];
    // Without packets nobody keeps one; the places of the pods say it all.
    const ipam = node.ipam() ?? createIpam(podCidrs, node.attachments);
    const view = ipamView(ipam, node.attachments.list());
    return { text: ipamText(view) || "the node has no pod range yet (Node spec.podCIDRs)\n", value: view };
  },
  drift: (_lab, node) => {
    const drift = node.agent?.drift() ?? [];
    const lines = drift.map(
      (one) =>
        `${one.time}  put back (${one.kind})  ${one.text}${one.origin === undefined ? "" : `  # ${originText(one.origin)}`}\n`,
    );
    return { text: lines.join("") || "nothing had to be put back\n", value: drift };
  },
};

/** Throws StatusError for a view or node there is not. */
export function show(lab: Lab, body: { readonly what: string; readonly node?: string }): Shown {
  if (body.what === "dns") {
    const zone = lab.zone();
    return zone === undefined
      ? { text: "", value: [] }
      : { text: formatZone(zone), value: formatZone(zone).split("\n") };
  }
  const view = views[body.what];
  if (view === undefined)
    throw new StatusError(
      400,
      "BadRequest",
      `show ${body.what}: must be one of ${[...Object.keys(views), "dns"].join(", ")}`,
    );
  const all = [...lab.nodes().values()];
  const nodes = body.node === undefined ? all : all.filter((node) => node.name === body.node);
  if (nodes.length === 0)
    throw new StatusError(
      404,
      "NotFound",
      `show ${body.what}: no node ${body.node}; there are: ${all.map((node) => node.name).join(", ")}`,
    );
  const shown = nodes.map((node) => ({ name: node.name, ...view(lab, node) }));
  const [only] = shown;
  if (shown.length === 1 && only !== undefined) return only;
  return {
    text: shown.map(({ name, text }) => `${name}\n${text.replaceAll(/^(?=.)/gm, "  ")}`).join("\n"),
    value: Object.fromEntries(shown.map(({ name, value }) => [name, value])),
  };
}

function ofProgram(
  lab: Lab,
  node: LabNode,
  format: (program: Program) => string,
  value: (program: Program) => unknown,
): Shown {
  const program = lab.world().programs.get(node.name);
  return program === undefined ? { text: "", value: null } : { text: format(program), value: value(program) };
}
