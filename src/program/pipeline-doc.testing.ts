// The chains that docs/pipeline.md shows: those of a small Program, without comments, as lines.

import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import { attachment, node, objects, service, slice } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import { formatTable } from "./nftables/format.ts";
import type { NftTable } from "./nftables/ruleset.ts";
import type { Program } from "./program.ts";

/** A node with one pod, a Service with a node port and one with session affinity. */
export function documentedProgram(): Program {
  const endpoints = [{ addresses: ["10.244.1.5"] }, { addresses: ["10.244.2.9"] }];
  const all = objects({
    nodes: [node(1, { podCIDRs: ["10.244.1.0/24"] }), node(2, { podCIDRs: ["10.244.2.0/24"] })],
    services: [
      service("web", {
        clusterIPs: ["10.96.0.20"],
        type: "NodePort",
        ports: [{ name: "http", port: 80, nodePort: 30080 }],
      }),
      service("sticky", { clusterIPs: ["10.96.0.21"], sessionAffinity: "ClientIP" }),
    ],
    endpointSlices: [slice("web", endpoints), slice("sticky", endpoints)],
  });
  const a = { ...attachment("a", { node: 1, host: 5 }), addresses: ["10.244.1.5"] };
  return compile(buildNetwork(clusterConfig({ families: [4] }), all), "node-1", [a]);
}

/** The lines of some chains of one table. */
export function documented(family: string, chains: readonly string[]): readonly string[] {
  const table = documentedProgram().tables.find((each) => each.family === family) as NftTable;
  const part = {
    ...table,
    sets: [],
    chains: chains.flatMap((name) => table.chains.filter((chain) => chain.name === name)),
  };
  return formatTable(part)
    .replace(/ comment "[^"]*"$/gm, "")
    .replace(/^\tcomment .*\n/gm, "")
    .replace(/^\t\tcomment .*\n/gm, "")
    .split("\n")
    .slice(1, -2)
    .map((line) => line.replace(/^\t/, "").replaceAll("\t", "    "));
}
