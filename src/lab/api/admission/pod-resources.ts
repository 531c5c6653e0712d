// What a pod asks for and may take at most, all containers together (component-helpers resource.PodRequests, PodLimits).

import type { Container, Pod } from "../../../kube/kinds.ts";
import { added, amountsOf, greatest, type Amounts } from "./amounts.ts";

/** The sum over containers and sidecars, or the greatest of those that run before them. */
export function podAmounts({ spec }: Pod, which: "requests" | "limits"): Amounts {
  const of = ({ resources }: Container): Amounts => amountsOf(resources?.[which]);
  let sidecars: Amounts = new Map();
  let first: Amounts = new Map();
  for (const container of spec.initContainers ?? []) {
    if (container.restartPolicy === "Always") {
      sidecars = added(sidecars, of(container));
      first = greatest(first, sidecars);
    } else first = greatest(first, added(sidecars, of(container)));
  }
  const running = added(...spec.containers.map(of), sidecars);
  const { overhead } = spec as { readonly overhead?: Readonly<Record<string, string>> };
  const all = greatest(running, first);
  if (overhead === undefined) return all;
  const costs = amountsOf(overhead);
  // What has no limit has none with its overhead either.
  if (which === "limits") for (const name of costs.keys()) if ((all.get(name)?.nanos ?? 0n) === 0n) costs.delete(name);
  return added(all, costs);
}
