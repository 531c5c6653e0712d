// A lab in memory, without a kernel: store, controllers, model and Programs are the real ones, kubelets only keep records.
// For `trace -f` (manifests alone), scenarios and simulations: the same objects always end in the same Programs.

import { checkAll } from "./api/check.ts";
import type { ObjectApi } from "./api/api.ts";
import { openStore } from "./api/sqlite-store.ts";
import { StatusError } from "./api/store.ts";
import { createObjectApi } from "./api/write.ts";
import { systemClock, type Clock } from "../watch/clock.ts";
import { createServiceAllocator } from "./controllers/service-addresses.ts";
import { admissions } from "./controllers/admissions.ts";
import { startControllers } from "./controllers/start.ts";
import { createNetworkSource } from "./network-source.ts";
import { startRecordKubelet, type RecordKubelet } from "./records.ts";
import { ensureSystemObjects } from "./system.ts";
import { makeWorld } from "./world.ts";
import { nodeAddressesOf, nodeObject, outsideAddresses } from "./node-object.ts";
import type { Address, Family } from "../ip/address.ts";
import type { KubeObject } from "../kube/object.ts";
import type { Pod } from "../kube/kinds.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Network } from "../model/network.ts";
import { compile } from "../program/compile.ts";
import { networkNamer, type Namer } from "../program/format.ts";
import type { Program } from "../program/program.ts";
import type { World } from "../trace/world.ts";

export interface ImaginedLab {
  readonly api: ObjectApi;
  /** Checks all, then applies all; resolves when the cluster has come to rest. Throws StatusError, and nothing is stored. */
  apply(objects: readonly KubeObject[]): Promise<void>;
  /** What the pod's readiness probe says from now on: `namespace/name`. */
  setReady(pod: string, ready: boolean): void;
  settled(): Promise<void>;
  network(): Network;
  program(node: string): Program;
  world(): World;
  /** Names for addresses, for texts that are the same on every run. */
  namer(): Namer;
  nameAddresses(addresses: readonly Address[]): string;
  close(): void;
}

/** Starts an imagined lab; `seed` makes generated names the same on every run. */
export async function imagine(options: {
  readonly nodes: number;
  readonly families?: readonly Family[];
  readonly seed?: number;
  readonly clock?: Clock;
}): Promise<ImaginedLab> {
  const cluster = clusterConfig(options.families === undefined ? {} : { families: options.families });
  const random = seeded(options.seed ?? 1);
  const store = openStore({ path: ":memory:", random });
  const api = createObjectApi({
    store,
    admissions: [...admissions, createServiceAllocator({ ...cluster, random })],
    random,
  });
  const controllers = startControllers({
    api,
    config: cluster,
    random,
    clock: options.clock ?? systemClock,
    rootCa: "",
  });
  const unready = new Set<string>();
  const kubelets = new Map<string, RecordKubelet>();
  ensureSystemObjects(api, cluster);
  for (let index = 0; index < options.nodes; index++) {
    const name = `node-${index + 1}`;
    const addresses = nodeAddressesOf(cluster, index);
    api.create(nodeObject(name, index, addresses));
    kubelets.set(
      name,
      startRecordKubelet({
        node: name,
        api,
        nodeAddresses: addresses,
        clock: Date.now,
        isReady: (pod: Pod) => !unready.has(`${pod.metadata.namespace}/${pod.metadata.name}`),
      }),
    );
  }
  const source = createNetworkSource(api, cluster);
  const attachments = new Map([...kubelets].map(([name, kubelet]) => [name, kubelet.attachments]));

  // Controllers and record kubelets answer each other's writes: at rest is when a whole round changed nothing.
  const settled = async (): Promise<void> => {
    for (let before = -1; before !== api.revision;) {
      before = api.revision;
      await controllers.idle();
      await api.flushed();
    }
  };
  const program = (node: string): Program => compile(source.current(), node, attachments.get(node)?.list() ?? []);
  const namer = (): Namer =>
    networkNamer(
      source.current(),
      [...attachments.values()].flatMap((store) => store.list()),
    );
  await settled();

  return {
    api,
    async apply(objects) {
      const { errors } = checkAll(api, objects);
      if (errors.length > 0) throw new StatusError(422, "Invalid", errors.join("\n"), { problems: errors });
      api.applyAll([...objects].sort((a, b) => Number(b.kind === "Namespace") - Number(a.kind === "Namespace")));
      await settled();
    },
    setReady(pod, ready) {
      if (ready) unready.delete(pod);
      else unready.add(pod);
      for (const kubelet of kubelets.values()) kubelet.look();
    },
    settled,
    network: () => source.current(),
    program,
    world: () => makeWorld({ api, network: source.current(), attachments, outside: outsideAddresses }),
    namer,
    nameAddresses: (addresses) => addresses.map((address) => namer().address(address)).join(", "),
    close() {
      controllers.stop();
      source.close();
      for (const kubelet of kubelets.values()) kubelet.stop();
      store.close();
    },
  };
}

/** The World of manifests alone: three nodes, every pod a record. */
export async function imagineLab(objects: readonly KubeObject[]): Promise<World> {
  const lab = await imagine({ nodes: 3 });
  try {
    await lab.apply(objects);
    return lab.world();
  } finally {
    lab.close();
  }
}

// mulberry32: small, and the same everywhere.
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
