// `fairlead show` of a lab: its nodes' views, one or all, and the cluster's zone.
//
// Not here: the views (agent/show.ts).

import { views, type Shown, type ShownNode } from "../agent/show.ts";
import type { Program } from "../program/program.ts";
import { formatZone } from "../program/zone-text.ts";
import { StatusError } from "./api/store.ts";
import type { Lab, LabNode } from "./lab.ts";

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
  const { programs } = lab.world();
  const shown = nodes.map((node) => ({ name: node.name, ...view(shownNode(lab, node, programs.get(node.name))) }));
  const [only] = shown;
  if (shown.length === 1 && only !== undefined) return only;
  return {
    text: shown.map(({ name, text }) => `${name}\n${text.replaceAll(/^(?=.)/gm, "  ")}`).join("\n"),
    value: Object.fromEntries(shown.map(({ name, value }) => [name, value])),
  };
}

function shownNode(lab: Lab, node: LabNode, program: Program | undefined): ShownNode {
  return {
    name: node.name,
    servicesOnly: false,
    network: lab.network(),
    program,
    kernel: node.machine?.kernel,
    attachments: node.attachments,
    ipam: node.ipam(),
    drift: node.drift(),
    announced: [...(lab.announced ?? [])].flatMap(([address, name]) => (name === node.name ? [address] : [])),
  };
}
