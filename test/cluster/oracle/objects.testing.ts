// Writes the random objects to the API server, and waits until both worlds have heard of all that was written.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";

import type { KubeObject } from "../../../src/kube/object.ts";
import { probeTcp } from "../../../src/lab/network/probe.ts";
import { apiPort } from "../../kernel/agent.testing.ts";
import type { OneService } from "./random.testing.ts";
import { podAddress, type World } from "./world.testing.ts";

const servicesPath = "/api/v1/namespaces/default/services";
const slicesPath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

export interface Written {
  /** What the API server has now; undefined where it took none. */
  readonly service: OneService | undefined;
  /** What may not change was to change: the old Service was deleted, and its flows are forgotten. */
  readonly isAnother: boolean;
  readonly objects: number;
  /** What the API server said to objects that it refused. */
  readonly refused: readonly string[];
}

/** Makes the API server have this Service in place of that one. */
export async function writeService(
  index: number,
  next: OneService | undefined,
  have: OneService | undefined,
): Promise<Written> {
  const refused: string[] = [];
  let objects = 0;
  const sent = async (method: string, path: string, body?: object): Promise<boolean> => {
    const answered = await send(method, path, body);
    objects++;
    if (answered.status < 300) return true;
    refused.push(`${method} ${path}: ${answered.status} ${answered.text} ${JSON.stringify(body)}`);
    return false;
  };
  const path = `${servicesPath}/s${index}`;
  const wanted = new Set((next?.slices ?? []).map(({ metadata }) => metadata.name));
  const had = new Map((have?.slices ?? []).map((slice) => [slice.metadata.name, slice]));
  const deleteOthers = async (): Promise<void> => {
    for (const name of had.keys()) if (!wanted.has(name)) await sent("DELETE", `${slicesPath}/${name}`);
  };
  if (next === undefined) {
    if (have !== undefined) await sent("DELETE", path);
    await deleteOthers();
    return { service: undefined, isAnother: true, objects, refused };
  }
  let isAnother = false;
  let isThere = have !== undefined && JSON.stringify(have.service) === JSON.stringify(next.service);
  if (!isThere) {
    isThere = have !== undefined && (await sent("PUT", path, next.service));
    if (!isThere) {
      isAnother = true;
      if (have !== undefined) await sent("DELETE", path);
      isThere = await sent("POST", servicesPath, next.service);
    }
  }
  if (isThere && next.service.spec.type === "LoadBalancer")
    await sent("PUT", `${path}/status`, {
      ...next.service,
      status: { loadBalancer: { ingress: next.ingress } },
    });
  const slices: KubeObject[] = [];
  for (const slice of next.slices) {
    const { name } = slice.metadata;
    const old = had.get(name);
    if (old !== undefined && JSON.stringify(old) === JSON.stringify(slice)) slices.push(slice);
    else if (old !== undefined && (await sent("PUT", `${slicesPath}/${name}`, slice))) slices.push(slice);
    else {
      if (old !== undefined) await sent("DELETE", `${slicesPath}/${name}`);
      if (await sent("POST", slicesPath, slice)) slices.push(slice);
    }
  }
  // As controllers do it: an endpoint that moves is never in none.
  await deleteOthers();
  return { service: isThere ? { ...next, slices } : undefined, isAnother, objects, refused };
}

/** Puts the node under test into a zone, or into none; says whether it is about to be deleted. */
export async function writeNode(zone: string | undefined, isToBeDeleted: boolean): Promise<void> {
  const path = "/api/v1/nodes/node-1";
  const node = JSON.parse((await send("GET", path)).text) as KubeObject & { readonly spec: object };
  const labels = zone === undefined ? {} : { "topology.kubernetes.io/zone": zone };
  const taints = isToBeDeleted ? [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] : [];
  const answered = await send("PUT", path, {
    ...node,
    metadata: { ...node.metadata, labels },
    spec: { ...node.spec, taints },
  });
  assert.ok(answered.status < 300, answered.text);
}

export interface Sentinel {
  /** Resolves when both worlds act upon everything that was written before. */
  seen(): Promise<void>;
}

const [four, six] = ["10.96.99.99", "fd00:10:96::9999"] as const;

/** A Service whose port, and whose slices' ports, change every time: both kinds of objects come in order, each on a watch of its own. */
export async function openSentinel(worlds: readonly World[]): Promise<Sentinel> {
  let turn = 0;
  const write = async (method: "POST" | "PUT"): Promise<void> => {
    const metadata = { name: "zz-sentinel", namespace: "default" };
    const [address4, address6] = podAddress(2, 5);
    const port = 8080 + (turn % 2);
    const objects = [
      [
        servicesPath,
        {
          apiVersion: "v1",
          kind: "Service",
          metadata,
          spec: {
            clusterIP: four,
            clusterIPs: [four, six],
            ipFamilies: ["IPv4", "IPv6"],
            ipFamilyPolicy: "RequireDualStack",
            ports: [{ name: "p", port: 1000 + turn, protocol: "TCP" }],
          },
        },
      ],
      ...([
        ["IPv4", address4],
        ["IPv6", address6],
      ].map(([addressType, address]) => [
        slicesPath,
        {
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: {
            ...metadata,
            name: `zz-${addressType?.toLowerCase()}`,
            labels: { "kubernetes.io/service-name": metadata.name },
          },
          addressType,
          ports: [{ name: "p", port, protocol: "TCP" }],
          endpoints: [{ addresses: [address], nodeName: "node-2" }],
        },
      ]) as [string, KubeObject][]),
    ] as const;
    for (const [path, object] of objects) {
      const at = method === "POST" ? path : `${path}/${(object as KubeObject).metadata.name}`;
      const answered = await send(method, at, object);
      assert.ok(answered.status < 300, answered.text);
    }
  };
  await write("POST");
  const isSeen = async (world: World, address: string): Promise<boolean> => {
    const target = { address, port: 1000 + turn, read: true, timeoutMs: 300 };
    const { said = "" } = await probeTcp(world.namespaceOf("node"), target);
    return said.includes(`:${8080 + (turn % 2)} `);
  };
  return {
    async seen() {
      turn++;
      await write("PUT");
      const end = Date.now() + 30_000;
      for (const world of worlds)
        for (const address of [four, six])
          while (!(await isSeen(world, address))) {
            assert.ok(Date.now() < end, `${address} port ${1000 + turn} is not seen in world ${worlds.indexOf(world)}`);
            await delay(20);
          }
      // What follows the rules themselves: health checks, flows that are forgotten.
      await delay(50);
    },
  };
}

async function send(
  method: string,
  path: string,
  body?: object,
): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`http://127.0.0.1:${apiPort}${path}`, {
    method,
    headers: { "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}
