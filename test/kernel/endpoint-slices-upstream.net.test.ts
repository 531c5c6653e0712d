// Our EndpointSlice and mirroring controllers beside the real kube-controller-manager: the same random objects, made, changed and deleted in
// the same order on both sides, and in the end the same endpoints under the same conditions, hints, ports and labels.
// Not compared: names of slices, and which of several slices an endpoint is in; slices of Services without selectors but for mirrored ones.
//
// It stands here for its namespaces of its own: kube-apiserver's ports are nobody else's.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { EndpointSlice, Node, Pod } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { testCluster, type TestCluster } from "../../src/lab/controllers/cluster.testing.ts";
import { endpoints, endpointSlices, nodes, pods, services } from "../../src/lab/controllers/resources.ts";
import type { TypedResource } from "../../src/lab/controllers/resources.ts";
import { ApiError, openCluster, resourcePath, type ClusterClient } from "../../src/watch/cluster/client.ts";
import { readKubeconfig } from "../../src/watch/cluster/kubeconfig.ts";
import { generator, type Random } from "../dns/random-cluster.testing.ts";

const binaries = join(process.env["PEERS"] ?? join(homedir(), ".cache/fairlead-peers"), "bin");
const needed = ["etcd", "kube-apiserver", "kube-controller-manager"];
const missing = needed.filter((name) => !existsSync(join(binaries, name)));
const skip =
  missing.length > 0 && `no ${missing.join(", ")}: build them from k8s.io/kubernetes, and name their folder in PEERS`;

const folder = mkdtempSync(join(tmpdir(), "fairlead-slices-"));
const running: ChildProcess[] = [];
after(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const isLong = process.env["FAIRLEAD_LONG"] === "1";
const rounds = isLong ? 60 : 3;
const stepsOfRound = 30;
/** Slices of a Service that is gone go with it. */
const enabled: ReadonlySet<string> = new Set(["endpointslice", "endpointslicemirroring", "garbagecollector"]);
/** The Service without a selector, whose Endpoints are made by hand. */
const mirrored = "s6";
const seed = Number(process.env["SEED"] ?? 1);

void test(
  "the same objects give the same endpoints as upstream's controllers, whatever came before",
  { skip },
  async () => {
    const client = await startUpstream();
    const ours = await testCluster({
      nodes: [],
      enabled: (name) => enabled.has(name),
    });
    const world: World = { client, ours, random: generator(seed) };
    for (const [name, zone] of [
      ["n1", "z1"],
      ["n2", "z2"],
      ["n3", undefined],
    ] as const)
      await put(world, nodes, node(name, zone));
    for (let round = 0; round < rounds; round++) {
      for (let step = 0; step < stepsOfRound; step++) await change(world);
      await ours.idle();
      await assertSame(world, `seed ${seed}, round ${round}`);
    }
    assert.deepEqual(ours.failures, []);
    ours.close();
    client.close();
  },
);

interface World {
  readonly client: ClusterClient;
  readonly ours: TestCluster;
  readonly random: Random;
}

// ---------------------------------------------------------------- the same on both sides

const versions: Readonly<Record<string, string>> = { "": "v1", "discovery.k8s.io": "v1" };

function pathOf(resource: TypedResource, name?: string, subresource?: string): string {
  const { group, namespaced } = resource;
  return resourcePath(
    { group, version: versions[group] ?? "v1", resource: resource.resource },
    {
      ...(namespaced && { namespace: "default" }),
      ...(name !== undefined && { name }),
      ...(subresource !== undefined && { subresource }),
    },
  );
}

/** Makes the object, or gives it this content. False where upstream's server refuses it: then it is as before on both sides. */
async function put({ client, ours }: World, resource: TypedResource, object: KubeObject): Promise<boolean> {
  const { name } = object.metadata;
  const before = ours.get(resource, name);
  const real = await client.request<KubeObject>({ path: pathOf(resource, name) }).catch(notFound);
  assert.equal(real === undefined, before === undefined, `${resource.resource} ${name} is on both sides or on none`);
  const status = (object as { status?: object }).status;
  try {
    if (real === undefined)
      await client.request({ method: "POST", path: pathOf(resource), body: withoutStatus(object) });
    else {
      const { resourceVersion = "" } = real.metadata;
      const body = { ...object, ...kept(real, object), metadata: { ...object.metadata, resourceVersion } };
      await client.request({ method: "PUT", path: pathOf(resource, name), body });
    }
  } catch (error) {
    if (error instanceof ApiError && error.status === 422) return false;
    throw error;
  }
  if (before === undefined) ours.create(withoutStatus(object));
  else
    ours.edit(resource, name, (old) => ({
      ...object,
      ...kept(old, object),
      metadata: { ...old.metadata, ...object.metadata },
    }));
  if (status !== undefined) await putStatus({ client, ours }, resource, name, status);
  return true;
}

function withoutStatus(object: KubeObject): KubeObject {
  const { status: _status, ...rest } = object as KubeObject & { status?: object };
  return rest;
}

/** What an update must leave as it is: addresses that a server gave, and a pod's spec. */
function kept(old: KubeObject, next: KubeObject): { readonly spec?: object } {
  const [before, after] = [old, next].map((each) => (each as { spec?: Record<string, unknown> }).spec);
  if (next.kind === "Pod" && before !== undefined) return { spec: before };
  if (next.kind !== "Service" || after === undefined || after["type"] === "ExternalName" || "clusterIP" in after)
    return {};
  const { clusterIP, clusterIPs, healthCheckNodePort } = before ?? {};
  const isSame =
    before?.["type"] !== "ExternalName" &&
    clusterIP !== "None" &&
    after["ipFamilyPolicy"] === before?.["ipFamilyPolicy"];
  return isSame ? { spec: { ...after, clusterIP, clusterIPs, healthCheckNodePort } } : {};
}

async function putStatus(
  { client, ours }: Pick<World, "client" | "ours">,
  resource: TypedResource,
  name: string,
  status: object,
): Promise<void> {
  await client.request({
    method: "PATCH",
    path: pathOf(resource, name, "status"),
    contentType: "application/merge-patch+json",
    body: { status },
  });
  const before = ours.must(resource, name) as KubeObject & { status?: object };
  // A merge patch takes away what is null.
  const merged = Object.entries({ ...before.status, ...status }).filter(([, value]) => value !== null);
  ours.api.updateStatus({ ...before, status: Object.fromEntries(merged) });
}

async function remove(
  { client, ours }: World,
  resource: TypedResource,
  name: string,
  graceSeconds: number,
): Promise<void> {
  const body = { gracePeriodSeconds: graceSeconds };
  await client.request({ method: "DELETE", path: pathOf(resource, name), body }).catch(notFound);
  if (ours.get(resource, name) !== undefined) ours.remove(resource, name, { gracePeriodSeconds: graceSeconds });
}

function notFound(error: unknown): undefined {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
}

// ---------------------------------------------------------------- chance

async function change(world: World): Promise<void> {
  const { random, ours } = world;
  const podName = `p${random(14)}`;
  const serviceName = `s${random(7)}`;
  const known = ours.get(pods, podName);
  const kind = random(100);
  if (kind < 34) {
    if (known === undefined) await put(world, pods, pod(random, podName));
    else await putStatus(world, pods, podName, podStatus(random, podName));
  } else if (kind < 44) {
    if (known === undefined) return;
    const labels = podLabels(random);
    await put(world, pods, { ...known, metadata: { name: podName, namespace: "default", labels } });
  } else if (kind < 58) {
    // The second time for good, as kubelet does.
    const isEnding = known?.metadata.deletionTimestamp !== undefined;
    await remove(world, pods, podName, isEnding ? 0 : random(2) * 30);
  } else if (kind < 82) await put(world, services, service(random, serviceName));
  else if (kind < 88) {
    await remove(world, services, serviceName, 0);
    // A real API server deletes them itself (registry/core/service, afterDelete); here the controller of Endpoints does, which is not in this test.
    await remove(world, endpoints, serviceName, 0);
  } else if (kind < 94) {
    const name = `n${random(3) + 1}`;
    if (ours.get(nodes, name) === undefined || random(2) === 0)
      await put(world, nodes, node(name, pick(random, ["z1", "z2", undefined])));
    else await remove(world, nodes, name, 0);
  } else if (random(3) === 0) await remove(world, endpoints, mirrored, 0);
  else await put(world, endpoints, manualEndpoints(random));
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random(values.length)] as T;
}

function node(name: string, zone: string | undefined): Node {
  const labels = { "kubernetes.io/hostname": name, ...(zone !== undefined && { "topology.kubernetes.io/zone": zone }) };
  return { apiVersion: "v1", kind: "Node", metadata: { name, labels }, spec: {} };
}

function podLabels(random: Random): Readonly<Record<string, string>> {
  return { app: pick(random, ["a", "b"]), ...(random(2) === 0 && { tier: "t" }) };
}

function pod(random: Random, name: string): Pod {
  const nodeName = pick(random, ["n1", "n2", "n3", "n1", "n2", "ghost", undefined]);
  const container = {
    name: "main",
    image: "x",
    ports: [
      { name: "http", containerPort: pick(random, [8080, 9090]) },
      ...(random(2) === 0 ? [{ name: "dns", containerPort: 53, protocol: "UDP" as const }] : []),
    ],
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: podLabels(random) },
    spec: {
      containers: [container],
      ...(random(3) === 0 && { hostname: `h-${name}` }),
      ...(random(2) === 0 && { subdomain: "s1" }),
      ...(nodeName !== undefined && { nodeName }),
    },
    status: podStatus(random, name),
  };
}

function podStatus(random: Random, name: string): object {
  const number = Number(name.slice(1)) + 10;
  const both = [{ ip: `10.244.1.${number}` }, { ip: `fd00:10:244::${number}` }];
  const podIPs = pick(random, [both, both, both.slice(0, 1), both.toReversed(), []]);
  return {
    phase: pick(random, ["Running", "Running", "Running", "Pending", "Succeeded", "Failed"]),
    conditions: [
      { type: "Ready", status: pick(random, ["True", "True", "False"]), lastTransitionTime: "2026-01-01T00:00:00Z" },
    ],
    podIP: podIPs[0]?.ip ?? null,
    podIPs: podIPs.length === 0 ? null : podIPs,
  };
}

function service(random: Random, name: string): KubeObject {
  const labels = random(3) === 0 ? { team: pick(random, ["x", "y"]) } : {};
  const metadata = { name, namespace: "default", labels };
  if (random(12) === 0 && name !== mirrored)
    return {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { type: "ExternalName", externalName: "example.com" },
    };
  const selector = pick(random, [{ app: "a" }, { app: "b" }, { app: "a", tier: "t" }, undefined]);
  const ports = [
    { name: "web", port: 80, targetPort: pick<number | string>(random, [8080, "http", "none"]) },
    ...(random(2) === 0
      ? [
          {
            name: "dns",
            port: 53,
            protocol: "UDP",
            targetPort: pick<number | string>(random, [5353, "dns"]),
            appProtocol: "x/y",
          },
        ]
      : []),
  ];
  const trafficDistribution = pick(random, [undefined, undefined, "PreferClose", "PreferSameZone", "PreferSameNode"]);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: {
      type: pick(random, ["ClusterIP", "NodePort"]),
      ...(name === "s1" && { type: "ClusterIP", clusterIP: "None" }),
      ...(selector !== undefined && name !== mirrored && { selector }),
      ports,
      ipFamilyPolicy: pick(random, ["SingleStack", "PreferDualStack"]),
      ...(random(4) === 0 && { publishNotReadyAddresses: true }),
      ...(trafficDistribution !== undefined && { trafficDistribution }),
    },
  };
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/** Of Service s6, which has no selector: mirrored. */
function manualEndpoints(random: Random): KubeObject {
  const address = (n: number): object => ({
    ip: pick(random, [`10.1.0.${n}`, `fd00:1::${n}`]),
    ...(random(3) === 0 && { nodeName: "n1" }),
  });
  const subset = (first: number): object => ({
    addresses: [address(first), address(first + 1)],
    ...(random(2) === 0 && { notReadyAddresses: [address(first + 2)] }),
    ports: pick(random, [[web(80)], [web(81)], [web(80), { name: "dns", port: 53, protocol: "UDP" }]]),
  });
  const web = (port: number): object => ({ name: "web", port, protocol: "TCP" });
  return {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name: mirrored,
      namespace: "default",
      labels: random(2) === 0 ? { team: "x" } : {},
      annotations: random(2) === 0 ? { note: pick(random, ["one", "two"]), [lastApplied]: "{}" } : {},
    },
    subsets: random(5) === 0 ? [] : [subset(1), ...(random(2) === 0 ? [subset(pick(random, [2, 10]))] : [])],
  };
}

// ---------------------------------------------------------------- what is compared

async function assertSame({ client, ours }: World, when: string): Promise<void> {
  // What controllers once made they leave alone where a Service has no selector any more, or is a name of another: that is how far each had
  // come by then.
  const left = ours.list(services).flatMap(({ metadata: { name }, spec }) => {
    const { type, selector } = spec;
    return (type === "ExternalName" || selector === undefined) && name !== mirrored ? [name] : [];
  });
  const mine = normal(ours.list(endpointSlices), left);
  // A pod whose node was missing is looked at again by theirs up to 100 s later: a change of the Service is at once.
  for (const { metadata } of ours.list(services)) await touch(client, pathOf(services, metadata.name), when);
  for (let tries = 0; ; tries++) {
    const { items } = await client.request<{ items: readonly EndpointSlice[] }>({ path: pathOf(endpointSlices) });
    const theirs = normal(items, left);
    // Theirs gathers changes and tries again what failed: it is given time to come to the same.
    if (JSON.stringify(theirs) === JSON.stringify(mine)) return;
    if (tries > 100) assert.deepEqual(mine, theirs, `${when}: ours beside upstream's`);
    await delay(200);
    await touch(client, pathOf(endpoints, mirrored), `${when}, ${tries}`).catch(notFound);
  }
}

/**
 * Has theirs look at an object again, at once. Mirrored Endpoints need it: where slices of both families are to be made and one of a single
 * family is to be deleted, theirs gives that one to a new slice and then forgets one of the new ones, of whichever family it met first
 * (endpointslicemirroring/reconciler_helpers.go, removeSlice: by name, and new slices have none). It makes the other one under a name that is taken, is
 * refused, and tries again after 1, 2, 4 and in the end 100 s; half of the tries succeed, as Go's maps have no order.
 */
async function touch(client: ClusterClient, path: string, when: string): Promise<void> {
  const body = { metadata: { annotations: { compared: when } } };
  await client.request({ method: "PATCH", path, contentType: "application/merge-patch+json", body });
}

const nobody = "nobody";

/** By Service, manager and family: labels, mirrored annotations, and every endpoint with its ports. */
function normal(
  slices: readonly EndpointSlice[],
  left: readonly string[],
): Readonly<Record<string, readonly string[]>> {
  const found = new Map<string, string[]>();
  for (const { metadata, addressType, endpoints: list, ports } of slices) {
    const { labels = {} } = metadata;
    const isMirrored = labels["kubernetes.io/service-name"] === mirrored;
    const { compared: _touched, ...annotations } = isMirrored ? (metadata.annotations ?? {}) : {};
    if (["kubernetes", ...left].includes(labels["kubernetes.io/service-name"] ?? "")) continue;
    assert.ok((list ?? []).length <= 100);
    const key = `${labels["kubernetes.io/service-name"]} ${addressType} ${JSON.stringify(sorted({ ...labels, ...annotations }))}`;
    const portsText = JSON.stringify((ports ?? []).map((port) => sorted({ ...port })).sort(byText));
    const lines = (list ?? []).map(({ targetRef, conditions, addresses, ...rest }) =>
      JSON.stringify(
        sorted({
          addresses,
          conditions,
          pod: targetRef?.name ?? "",
          ports: portsText,
          ...rest,
        }),
      ),
    );
    found.set(key, [...(found.get(key) ?? []), ...(lines.length === 0 ? [`${nobody} ${portsText}`] : lines)]);
  }
  return Object.fromEntries([...found].sort(byText).map(([key, lines]) => [key, withoutLeftEmpty(lines).sort()]));
}

/**
 * Theirs keeps an empty slice beside others for as long as a pod has its ports, though the pod is in no slice (its node is missing, it has no
 * address of the family): of slices for ports that somebody has it deletes those that lose endpoints (endpointslice/reconciler.go,
 * reconcileByPortMapping). Whether there is one depends on what came before, and says nothing; ours goes.
 */
function withoutLeftEmpty(lines: readonly string[]): string[] {
  const rest = lines.filter((line) => !line.startsWith(nobody));
  return rest.length > 0 ? rest : [...lines];
}

/** With fields in order, all the way down. */
function sorted(value: object): object {
  if (Array.isArray(value)) return value.map((each: unknown) => inner(each));
  const fields = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(fields.map(([key, each]) => [key, inner(each)] as const).sort(byText));
}

function inner(value: unknown): unknown {
  return typeof value === "object" && value !== null ? sorted(value) : value;
}

function byText(a: unknown, b: unknown): number {
  const [first, second] = [JSON.stringify(a), JSON.stringify(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}

// ---------------------------------------------------------------- upstream

async function startUpstream(): Promise<ClusterClient> {
  const kernel = openKernel("upstream", currentNetworkNamespace());
  kernel.change([{ kind: "set-link", name: "lo", up: true }]);
  kernel.close();
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = join(folder, "sa.key");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(folder, "tokens"), "test,test,test,system:masters\n");
  start("etcd", { "data-dir": join(folder, "etcd"), "unsafe-no-fsync": "true", "log-level": "error" });
  start("kube-apiserver", {
    "etcd-servers": "http://127.0.0.1:2379",
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "secure-port": "6443",
    "cert-dir": folder,
    "endpoint-reconciler-type": "none",
    "service-cluster-ip-range": "10.96.0.0/16,fd00:10:96::/112",
    "authorization-mode": "AlwaysAllow",
    "token-auth-file": join(folder, "tokens"),
    "service-account-issuer": "https://test",
    "service-account-key-file": key,
    "service-account-signing-key-file": key,
    "disable-admission-plugins": "ServiceAccount,TaintNodesByCondition",
  });
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
      clusters: [{ name: "test", cluster: { server: "https://127.0.0.1:6443", "insecure-skip-tls-verify": true } }],
      users: [{ name: "test", user: { token: "test" } }],
    }),
  );
  const client = openCluster(await readKubeconfig(kubeconfig));
  // A server that has just started has no namespace yet.
  for (
    let tries = 0;
    (await client.request({ path: "/api/v1/namespaces/default" }).catch(() => undefined)) === undefined;
    tries++
  ) {
    assert.ok(tries < 600, "kube-apiserver answers");
    await delay(100);
  }
  start("kube-controller-manager", {
    kubeconfig,
    controllers: "endpointslice-controller,endpointslice-mirroring-controller,garbage-collector-controller",
    "leader-elect": "false",
    "bind-address": "127.0.0.1",
    "cert-dir": folder,
    "kube-api-qps": "500",
    "kube-api-burst": "1000",
  });
  return client;
}

function start(name: string, flags: Readonly<Record<string, string>>): void {
  const given = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  running.push(
    spawn(join(binaries, name), given, { stdio: process.env["VERBOSE"] === undefined ? "ignore" : ["ignore", 2, 2] }),
  );
}
