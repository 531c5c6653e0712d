// Pods' ranges for nodes out of the cluster's own, where no controller gives them: each node's agent takes the next free one. What is whose
// stands in one ConfigMap, a line a node, for all to see; who writes second is refused by the API server and looks again, so that no two
// nodes can have one range.
//
// A node that is gone keeps its line, and has its range again when it comes back under its name, until no other range is free.
// Not here: how a node says its range to the others (node-notes.ts), and what follows where ranges overlap all the same (model/claims.ts).

import { familyOf } from "../ip/address.ts";
import { addressBits, overlaps, parsePrefix, prefixBits, subnet, type Prefix } from "../ip/prefix.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";

/** The ConfigMap's name; the chart's Role names it too. */
export const nodeRangesName = "fairlead-node-ranges";

/** One range of the cluster, divided among its nodes. */
export interface NodePool {
  readonly range: Prefix;
  /** Length of each node's part, in bits. */
  readonly nodeBits: number;
}

export interface ClaimOptions {
  readonly client: ClusterClient;
  readonly node: string;
  /** One per family, in the node's order. */
  readonly pools: readonly NodePool[];
  /** Ranges of other nodes, however they came by them. */
  readonly othersRanges: () => readonly Prefix[];
  readonly namespace?: string;
  /** How long to wait after somebody else was quicker, in milliseconds; a dice, so that not all come again at once. */
  readonly wait?: (attempt: number) => Promise<void>;
}

interface ConfigMap {
  readonly apiVersion: "v1";
  readonly kind: "ConfigMap";
  readonly metadata: { readonly name: string; readonly namespace: string; readonly resourceVersion?: string };
  readonly data?: Readonly<Record<string, string>>;
}

/** The node's ranges, one of each pool: its own where it has some, else free ones. Rejects where none is free, and as `request` does. */
export async function claimNodeRanges(options: ClaimOptions): Promise<readonly Prefix[]> {
  const { client, node, pools, othersRanges, namespace = "kube-system", wait = waitAtRandom } = options;
  const place = { group: "", version: "v1", resource: "configmaps" };
  const path = resourcePath(place, { namespace, name: nodeRangesName });
  for (let attempt = 0; ; attempt++) {
    const before = await found(client.request<ConfigMap>({ path }));
    const data = before?.data ?? {};
    const own = rangesOf(data[node]);
    if (isOneOfEach(own, pools)) return own;
    const lines = Object.entries(data).filter(([name]) => name !== node);
    let kept = lines;
    let ranges = freeRanges(pools, [...lines.flatMap(([, text]) => rangesOf(text)), ...othersRanges()]);
    if (ranges === undefined) {
      kept = await linesOfNodes(client, lines);
      ranges = freeRanges(pools, [...kept.flatMap(([, text]) => rangesOf(text)), ...othersRanges()]);
    }
    if (ranges === undefined)
      throw new Error(
        `take pods' ranges for node ${node}: none is free in ${pools.map(({ range, nodeBits }) => `${range} (a /${nodeBits} for each node)`).join(", ")}: ${kept.length} nodes have one; give --cluster-cidr more room, or --node-cidr-mask-size-ipv4 and -ipv6 larger numbers`,
      );
    const body: ConfigMap = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { ...before?.metadata, name: nodeRangesName, namespace },
      data: { ...Object.fromEntries(kept), [node]: ranges.join(",") },
    };
    try {
      // With the resourceVersion that was read: whoever comes second is refused.
      await (before === undefined
        ? client.request({ method: "POST", path: resourcePath(place, { namespace }), body })
        : client.request({ method: "PUT", path, body }));
      return ranges;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
    }
    await wait(attempt);
  }
}

/** Undefined for what is not there. */
async function found<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  }
}

/** The lines of nodes that are there; each of the others is asked for by name, as a list may be old. */
async function linesOfNodes(client: ClusterClient, lines: readonly [string, string][]): Promise<[string, string][]> {
  const kept: [string, string][] = [];
  for (const line of lines) {
    const path = resourcePath({ group: "", version: "v1", resource: "nodes" }, { name: line[0] });
    if ((await found(client.request({ path }))) !== undefined) kept.push(line);
  }
  return kept;
}

/** The first of each pool, at the same place in all of them, that overlaps none of the taken. */
function freeRanges(pools: readonly NodePool[], taken: readonly Prefix[]): readonly Prefix[] | undefined {
  const exact = new Set(taken);
  const bits = new Set(pools.map(({ range, nodeBits }) => `${familyOf(range)}/${nodeBits}`));
  // Those of another size are few, and must be compared.
  const odd = taken.filter((range) => !bits.has(`${familyOf(range)}/${prefixBits(range)}`));
  const count = Math.min(...pools.map(({ range, nodeBits }) => 2 ** Math.min(20, nodeBits - prefixBits(range))));
  for (let index = 0; index < count; index++) {
    const ranges = pools.map(({ range, nodeBits }) => subnet(range, nodeBits, index));
    if (ranges.every((range) => !exact.has(range) && !odd.some((other) => overlaps(other, range)))) return ranges;
  }
  return undefined;
}

function isOneOfEach(ranges: readonly Prefix[], pools: readonly NodePool[]): boolean {
  return (
    ranges.length === pools.length &&
    pools.every(({ range, nodeBits }, index) => {
      const own = ranges[index];
      return own !== undefined && prefixBits(own) === nodeBits && overlaps(own, range);
    })
  );
}

function rangesOf(text: string | undefined): readonly Prefix[] {
  return (text ?? "").split(",").flatMap((one) => parsePrefix(one.trim()) ?? []);
}

/** Each pool with the length of its nodes' parts. Throws naming the option where they do not fit. */
export function nodePools(
  ranges: readonly Prefix[],
  maskSize: { readonly 4: number; readonly 6: number },
): readonly NodePool[] {
  return ranges.map((range) => {
    const family = familyOf(range);
    const nodeBits = maskSize[family];
    const option = `--node-cidr-mask-size-ipv${family}`;
    if (!Number.isInteger(nodeBits) || nodeBits < prefixBits(range) || nodeBits > addressBits(family) - 2)
      throw new Error(
        `${option} ${nodeBits} does not divide ${range}: a number from ${prefixBits(range)} to ${addressBits(family) - 2}`,
      );
    return { range, nodeBits };
  });
}

function waitAtRandom(attempt: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, Math.random() * Math.min(5000, 20 * 2 ** attempt)));
}
