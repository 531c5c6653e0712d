// `fairlead policy explain NAME`: what a NetworkPolicy or ClusterNetworkPolicy does, in plain words, in a lab or from manifests alone.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { loadManifests } from "./manifests.ts";

interface PolicyOptions {
  readonly namespace: string;
  readonly filename?: readonly string[];
  readonly name: string;
}

export default async function policy(action: string, policyName: string, options: PolicyOptions): Promise<number> {
  if (action !== "explain") throw new Error(`policy ${action}: there is only policy explain`);
  const [first = "", second] = policyName.split("/");
  const [namespace, name] = second === undefined ? [options.namespace, first] : [first, second];
  process.stdout.write(
    options.filename === undefined
      ? (await labClient(labPaths(options.name)).call<{ text: string }>("/policy", { namespace, name })).text
      : await fromManifests(namespace, name, options.filename),
  );
  return 0;
}

async function fromManifests(namespace: string, name: string, files: readonly string[]): Promise<string> {
  const objects = loadManifests(files, namespace, () => undefined);
  const { imagineLab } = await import("../lab/imagine.ts");
  const { explainPolicy } = await import("../trace/policy-explain.ts");
  const { network } = await imagineLab(objects);
  const text = explainPolicy(network, namespace, name);
  if (text !== undefined) return text;
  const there = [
    ...network.policies.map((each) => `${each.namespace}/${each.name}`),
    ...network.clusterPolicies.map((each) => `cnp/${each.name}`),
  ];
  throw new Error(`no policy ${namespace}/${name} in the manifests; there are: ${there.join(", ") || "none"}`);
}
