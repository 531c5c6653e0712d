import { test } from "node:test";
import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Container, Pod, Service } from "../../kube/kinds.ts";
import { fieldText, quantityValue, resourceText, type PodFacts } from "./downward.ts";
import { containerMounts } from "./volumes.ts";
import { containerEnvironment, expand, hostnameOf, serviceVariables, type Lookups } from "./env.ts";

const container: Container = { name: "c", image: "x", resources: { limits: { cpu: "1500m", memory: "64Mi" } } };
const pod: Pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "web-0", namespace: "shop", uid: "u1", labels: { b: "2", a: 'say "1"' } },
  spec: { containers: [container] },
};
const facts: PodFacts = {
  pod,
  podIps: ["10.244.1.5", "fd00::5"],
  nodeName: "node-1",
  hostIps: ["172.18.0.11"],
  allocatable: { cpu: "2", memory: "1024Mi" },
};
const none: Lookups = {
  configMap: () => undefined,
  secret: () => undefined,
  services: () => [],
  apiService: () => undefined,
};

test("expansion: known names, $$, unknown names and odd brackets stay", () => {
  const known = { A: "1", B: "two" };
  assert.equal(expand("$(A)-$(B)", known), "1-two");
  assert.equal(expand("$$(A) $(C) $A ${A} $( $(", known), "$(A) $(C) $A ${A} $( $(");
  assert.equal(expand("$$$(A)", known), "$1");
  assert.equal(expand("$(toString)", known), "$(toString)");
});

test("variables see those before them, and those of the image and of Services", () => {
  const service: Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "api-server", namespace: "shop" },
    spec: {
      clusterIP: "fd00::7",
      ports: [
        { port: 80, name: "web" },
        { port: 53, protocol: "UDP" },
      ],
    },
  };
  const spec: Container = {
    name: "c",
    env: [
      { name: "LATER", value: "$(NEXT)" },
      { name: "NEXT", value: "$(API_SERVER_SERVICE_PORT)" },
      { name: "PATH", value: "/mine:$(PATH)" },
    ],
  };
  const result = containerEnvironment(facts, spec, { ...none, services: () => [service] }, { PATH: "/bin" });
  assert.deepEqual(result, {
    PATH: "/mine:/bin",
    HOSTNAME: "web-0",
    API_SERVER_SERVICE_HOST: "fd00::7",
    API_SERVER_SERVICE_PORT: "80",
    API_SERVER_SERVICE_PORT_WEB: "80",
    API_SERVER_PORT: "tcp://[fd00::7]:80",
    API_SERVER_PORT_80_TCP: "tcp://[fd00::7]:80",
    API_SERVER_PORT_80_TCP_PROTO: "tcp",
    API_SERVER_PORT_80_TCP_PORT: "80",
    API_SERVER_PORT_80_TCP_ADDR: "fd00::7",
    API_SERVER_PORT_53_UDP: "udp://[fd00::7]:53",
    API_SERVER_PORT_53_UDP_PROTO: "udp",
    API_SERVER_PORT_53_UDP_PORT: "53",
    API_SERVER_PORT_53_UDP_ADDR: "fd00::7",
    LATER: "$(NEXT)",
    NEXT: "80",
  });
});

test("service variables: only the API's without service links, none for headless Services", () => {
  const service = (name: string, clusterIP: string): Service => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "shop" },
    spec: { clusterIP, ports: [{ port: 443 }] },
  });
  const lookups = {
    ...none,
    apiService: () => service("kubernetes", "10.96.0.1"),
    services: () => [service("db", "None"), service("web", "10.96.0.2")],
  };
  assert.ok("WEB_SERVICE_HOST" in serviceVariables(pod, lookups));
  assert.ok(!("DB_SERVICE_HOST" in serviceVariables(pod, lookups)));
  const unlinked = { ...pod, spec: { ...pod.spec, enableServiceLinks: false } };
  const names = Object.keys(serviceVariables(unlinked, lookups));
  assert.ok(names.length > 0 && names.every((name) => name.startsWith("KUBERNETES_")));
});

test("missing objects and keys are named, optional ones are left out", () => {
  const ask = (env: Container["env"], lookups: Lookups = none): unknown =>
    containerEnvironment(facts, { name: "c", ...(env === undefined ? {} : { env }) }, lookups, {});
  const configMapKeyRef = { name: "m", key: "k" };
  const map = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "m" }, data: { other: "1" } } as const;
  assert.throws(() => ask([{ name: "A", valueFrom: { configMapKeyRef } }]), {
    name: "ConfigError",
    message: 'configmap "m" not found',
  });
  assert.throws(() => ask([{ name: "A", valueFrom: { configMapKeyRef } }], { ...none, configMap: () => map }), {
    message: "couldn't find key k in ConfigMap shop/m",
  });
  assert.throws(() => ask([{ name: "A", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }]), {
    message: 'secret "s" not found',
  });
  assert.deepEqual(ask([{ name: "A", valueFrom: { configMapKeyRef: { ...configMapKeyRef, optional: true } } }]), {
    HOSTNAME: "web-0",
  });
});

test("fields and resources as text", () => {
  const field = (fieldPath: string): string => fieldText(facts, { fieldPath });
  assert.equal(field("metadata.labels"), 'a="say \\"1\\""\nb="2"');
  assert.equal(field("metadata.labels['b']"), "2");
  assert.equal(field("metadata.annotations['none']"), "");
  assert.equal(field("status.podIPs"), "10.244.1.5,fd00::5");
  assert.equal(field("status.hostIP"), "172.18.0.11");
  assert.equal(field("spec.serviceAccountName"), "default");
  assert.throws(() => field("spec.nonsense"), /unsupported fieldPath/);
  const resource = (name: string, divisor?: string): string =>
    resourceText(facts, { resource: name, ...(divisor === undefined ? {} : { divisor }) }, "c");
  assert.equal(resource("limits.cpu"), "2");
  assert.equal(resource("limits.cpu", "1m"), "1500");
  assert.equal(resource("limits.memory", "1Mi"), "64");
  assert.equal(resource("requests.memory"), "0");
  assert.equal(resourceText(facts, { resource: "limits.ephemeral-storage" }, "c"), "0");
});

test("quantities", () => {
  const cases: readonly (readonly [string | number, number])[] = [
    ["100m", 0.1],
    ["1Gi", 2 ** 30],
    ["1.5k", 1500],
    ["2e3", 2000],
    [3, 3],
    [".5", 0.5],
  ];
  for (const [text, value] of cases) assert.equal(quantityValue(text), value, String(text));
  assert.ok(Number.isNaN(quantityValue("1x")));
});

test("a hostNetwork pod's name is its node's", () => {
  const named = (spec: object): Pod => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p" },
    spec: { containers: [], nodeName: "node-1", ...spec },
  });
  assert.equal(hostnameOf(named({ hostNetwork: true, hostname: "h" })), "node-1");
  assert.equal(hostnameOf(named({ hostname: "h" })), "h");
  assert.equal(hostnameOf(named({})), "p");
});

test("a subPathExpr that turns out to be absolute is refused, one inside the volume is taken", () => {
  const volumes = new Map([["v", { path: fs.mkdtempSync(join(tmpdir(), "volume-")), readOnly: false }]]);
  const mounts = (subPathExpr: string): string =>
    containerMounts({ name: "c", image: "x", volumeMounts: [{ name: "v", mountPath: "/m", subPathExpr }] }, volumes, {
      ABSOLUTE: "/tmp",
      NAME: "sub",
    })[0]?.source ?? "";
  assert.match(mounts("$(NAME)"), /\/sub$/);
  assert.throws(() => mounts("$(ABSOLUTE)"), /must not be an absolute path/);
  fs.rmSync(volumes.get("v")?.path ?? "", { recursive: true });
});
