// Random Services with EndpointSlices made by hand, and random questions about them: everything from one number.

import type { RecordType } from "../../src/wire/dns/record.ts";

export interface Question {
  readonly name: string;
  readonly type: RecordType;
  readonly edns: number;
}

export type Random = (below: number) => number;

/** Mulberry32. */
export function generator(seed: number): Random {
  let state = seed * 0x9e3779b9;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const pick = <T>(random: Random, values: readonly T[]): T => values[random(values.length)] as T;
const chance = (random: Random, percent: number): boolean => random(100) < percent;

export const fixedNames = {
  apex: "cluster.local",
  version: "dns-version.cluster.local",
  ns: "ns.dns.cluster.local",
  svc: "svc.cluster.local",
  pod: "pod.cluster.local",
  api: "kubernetes.default.svc.cluster.local",
  apiPort: "_https._tcp.kubernetes.default.svc.cluster.local",
  dns: "kube-dns.kube-system.svc.cluster.local",
  dnsPort: "_dns._udp.kube-dns.kube-system.svc.cluster.local",
  none: "nothing.cluster.local",
  reverse: "1.0.96.10.in-addr.arpa",
} as const;

export interface RandomCluster {
  readonly objects: readonly object[];
  /** Names that exist, and neighbours of them. */
  readonly names: readonly string[];
  /** Exists when everything does. */
  readonly last: string;
}

export function randomCluster(random: Random, round: number): RandomCluster {
  const objects: object[] = [];
  const names: string[] = [];
  const namespaces = ["default", `r${round}-a`, `r${round}-b`];
  for (const name of namespaces.slice(1)) objects.push({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  // Each address once: the same endpoint twice under two names is nothing that controllers write.
  let last4 = round * 400;
  let last6 = round * 400;
  const address4 = (): string => `10.244.${(last4 += 1 + random(2)) >> 8}.${last4 & 255}`;
  const address6 = (): string => `fd00:10:244:${random(3) + 1}::${(last6 += 2).toString(16)}`;
  for (let index = 0; index < 40; index++) {
    const namespace = pick(random, namespaces);
    const name = `s${round}-${index}`;
    const own = `${name}.${namespace}.svc.cluster.local`;
    names.push(own);
    const kind = pick(random, ["cluster", "cluster", "headless", "headless", "external"] as const);
    if (kind === "external") {
      objects.push({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name, namespace },
        spec: {
          type: "ExternalName",
          externalName: pick(random, [
            "example.org",
            `s${round}-0.default.svc.cluster.local`,
            "kubernetes.default.svc.cluster.local",
            "other.example.com",
          ]),
        },
      });
      continue;
    }
    const ports = Array.from({ length: random(4) }, (_, port) => ({
      name: `p${port}`,
      port: 80 + port,
      protocol: pick(random, ["TCP", "UDP"]),
    }));
    if (kind === "cluster" && ports.length === 0) ports.push({ name: "p0", port: 80, protocol: "TCP" });
    const families = pick(random, [["IPv4"], ["IPv6"], ["IPv4", "IPv6"]] as const);
    // Half of them are shown where only such labels are.
    const labels = index % 2 === 0 ? { tier: "front" } : {};
    objects.push({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace, labels },
      spec: {
        ...(kind === "headless" ? { clusterIP: "None" } : {}),
        ipFamilies: families,
        ipFamilyPolicy: families.length === 2 ? "RequireDualStack" : "SingleStack",
        ports,
      },
    });
    names.push(
      ...ports.map((port) => `_${port.name}._${port.protocol.toLowerCase()}.${own}`),
      `_tcp.${own}`,
      `_udp.${own}`,
    );
    for (const family of families) {
      for (let slice = 0; slice < 1 + random(2); slice++) {
        const endpoints = Array.from({ length: random(6) }, () => {
          const address = family === "IPv4" ? address4() : address6();
          const hostname = chance(random, 40) ? `h${random(4)}` : undefined;
          names.push(`${hostname ?? address.replaceAll(/[.:]/g, "-")}.${own}`, reverse(address));
          // Names that only `endpoint_pod_names` knows.
          const pod = last4 % 3 === 0 ? `pod-${last4}-${last6}${last4 % 2 === 0 ? "-long".repeat(12) : ""}` : undefined;
          if (pod !== undefined && pod.length < 64) names.push(`${pod}.${own}`);
          return {
            addresses: [address],
            ...(pod === undefined ? {} : { targetRef: { kind: "Pod", name: pod, namespace } }),
            ...(hostname === undefined ? {} : { hostname }),
            ...(chance(random, 30) ? { conditions: { ready: chance(random, 50) } } : {}),
          };
        });
        objects.push({
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: {
            name: `${name}-${family.toLowerCase()}-${slice}`,
            namespace,
            labels: { ...labels, "kubernetes.io/service-name": name },
          },
          addressType: family,
          ports,
          endpoints,
        });
      }
    }
  }
  const last = `z${round}.default.svc.cluster.local`;
  objects.push({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: `z${round}`, namespace: "default", labels: { tier: "front" } },
    spec: { clusterIP: "None", ports: [] },
  });
  objects.push({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `z${round}`,
      namespace: "default",
      labels: { tier: "front", "kubernetes.io/service-name": `z${round}` },
    },
    addressType: "IPv4",
    ports: [],
    endpoints: [{ addresses: ["10.244.9.9"] }],
  });
  names.push(
    ...namespaces.flatMap((namespace) => [
      `${namespace}.svc.cluster.local`,
      `${namespace}.pod.cluster.local`,
      `10-244-1-2.${namespace}.pod.cluster.local`,
    ]),
  );
  return { objects, names, last };
}

function reverse(address: string): string {
  if (address.includes(".")) return `${address.split(".").toReversed().join(".")}.in-addr.arpa`;
  const [head = "", tail = ""] = address.split("::");
  const groups = head.split(":");
  const full = [...groups, ...Array<string>(7 - groups.length).fill("0"), tail]
    .map((group) => group.padStart(4, "0"))
    .join("");
  return `${full.split("").toReversed().join(".")}.ip6.arpa`;
}

const types: readonly RecordType[] = [
  "A",
  "A",
  "A",
  "AAAA",
  "AAAA",
  "SRV",
  "SRV",
  "PTR",
  "TXT",
  "SOA",
  "NS",
  "CNAME",
  "MX",
  "HTTPS",
];

export function randomQuestion(random: Random, names: readonly string[]): Question {
  let name = pick(random, names);
  if (chance(random, 8)) name = `x.${name}`;
  if (chance(random, 4)) name = name.split(".").slice(1).join(".");
  if (chance(random, 10))
    name = Array.from(name, (letter) => (chance(random, 50) ? letter.toUpperCase() : letter)).join("");
  const type = name.endsWith("arpa") && chance(random, 80) ? "PTR" : pick(random, types);
  return { name, type, edns: pick(random, [1232, 1232, 0, 512]) };
}
