// `fairlead policy explain` and `fairlead matrix` in a running lab.

import { reachability, type Matrix } from "../trace/matrix.ts";
import { explainPolicy } from "../trace/policy-explain.ts";
import { StatusError } from "./api/store.ts";
import type { Lab } from "./lab.ts";

/** Throws StatusError where there is no such policy. */
export async function explainInLab(
  lab: Lab,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): Promise<{ readonly text: string }> {
  await lab.programmed();
  const network = lab.network();
  const text = explainPolicy(network, namespace, name);
  if (text !== undefined) return { text };
  const there = [
    ...network.policies.filter((policy) => policy.namespace === namespace).map((policy) => policy.name),
    ...network.clusterPolicies.map((policy) => `cnp/${policy.name}`),
  ];
  const off = network.cluster.policy === "off" ? ": policies are switched off (--policy off)" : "";
  throw new StatusError(
    404,
    "NotFound",
    `networkpolicies "${name}" not found in namespace ${namespace}${off === "" ? `; there are: ${there.join(", ") || "none"}` : off}`,
  );
}

export async function matrixInLab(
  lab: Lab,
  { namespaces }: { readonly namespaces?: readonly string[] },
): Promise<Matrix> {
  await lab.programmed();
  return reachability(lab.world(), namespaces === undefined ? {} : { namespaces });
}
