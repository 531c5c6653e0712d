// What `fairlead status` says: nodes, pods, what is missing, what was put back, and the Network's problems.

import process from "node:process";
import { conntrackWarning } from "../agent/conntrack-use.ts";
import { forwardDrops } from "../agent/firewall.ts";
import type { Node } from "../kube/kinds.ts";
import type { Pod } from "../kube/kinds.ts";
import { policyWarnings } from "../model/policy-problems.ts";
import type { Program } from "../program/program.ts";
import { originText } from "../trace/render.ts";
import { keyOf } from "../kube/object.ts";
import { keptObjects } from "./controllers/not-implemented.ts";
import type { Lab, LabNode } from "./lab.ts";
import { uplinkName } from "./node-object.ts";
import { readiness } from "./wait.ts";

export function status(lab: Lab): object {
  const { pods, podsReady, missing } = readiness(lab.api);
  const network = lab.network();
  const { programs, cutOff } = lab.world();
  return {
    name: lab.config.name,
    upSeconds: process.uptime(),
    memoryMiB: Math.round(process.memoryUsage.rss() / 1024 / 1024),
    packets: lab.config.packets,
    ...(lab.config.packetsOffReason !== undefined && { packetsOffReason: lab.config.packetsOffReason }),
    nodes: [...lab.nodes().values()].map((node) => nodeStatus(lab, node, programs.get(node.name))),
    pods,
    podsReady,
    services: network.services.length,
    missing,
    problems: [
      ...[...network.problems, ...policyWarnings(network)].map(({ severity, origin, message }) => ({
        severity,
        where: originText(origin),
        message,
      })),
      ...[...pulledLinksOf(lab, cutOff), ...firewallsOf(lab), ...fullTablesOf(lab)].map(({ node, message }) => ({
        severity: "warning",
        where: `Node ${node}`,
        message,
      })),
    ],
    kept: keptObjects(lab.api).map(({ object, message }) => ({
      object: `${object.kind} ${keyOf(object)}`,
      message,
    })),
  };
}

interface NodeWarning {
  readonly node: string;
  readonly message: string;
}

/** Nodes whose link is down though nobody stopped them: somebody's hand was at it. */
function pulledLinksOf(lab: Lab, cutOff: ReadonlySet<string> | undefined): readonly NodeWarning[] {
  return [...lab.nodes().values()]
    .filter(({ name, stopped }) => !stopped && cutOff?.has(name) === true)
    .map(({ name }) => ({
      node: name,
      message: `link ${uplinkName} is down: other machines neither reach the node nor its pods; ip link set ${uplinkName} up`,
    }));
}

/** Nodes whose table of connections is nearly full. */
function fullTablesOf(lab: Lab): readonly NodeWarning[] {
  return [...lab.nodes().values()].flatMap(({ name, machine }) => {
    const message = machine && conntrackWarning(machine.kernel, name);
    return message === undefined ? [] : [{ node: name, message }];
  });
}

/** Chains that somebody put into nodes and that drop what the nodes forward, each with its cure. */
export function firewallsOf(lab: Lab): readonly NodeWarning[] {
  return [...lab.nodes().values()].flatMap(({ name, machine }) =>
    machine === undefined ? [] : forwardDrops(machine.kernel, "all").map((message) => ({ node: name, message })),
  );
}

function nodeStatus(lab: Lab, node: LabNode, program: Program | undefined): object {
  const object = lab.api.get({ group: "", resource: "nodes", name: node.name }) as Node | undefined;
  const pods = lab.api.list({ group: "", resource: "pods" }).items as readonly Pod[];
  return {
    name: node.name,
    ready:
      object?.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ??
      false,
    addresses: node.addresses,
    podCidrs: object?.spec?.podCIDRs ?? [],
    pods: pods.filter((pod) => pod.spec.nodeName === node.name).length,
    routes: program?.routes.length ?? 0,
    elements: (program?.tables ?? []).flatMap((table) => table.sets).reduce((sum, set) => sum + set.elements.length, 0),
    drift: node.drift().length,
    failures: (node.agent?.failures() ?? []).map((failure) => failure.error.message),
  };
}
