import assert from "node:assert/strict";
import { test } from "node:test";

import { withDefaults } from "./defaults.ts";
import { sameJson } from "./equal.ts";
import type { Deployment } from "./kinds.ts";

const given = (apiVersion: string, kind: string, rest: object) => ({
  apiVersion,
  kind,
  metadata: { name: "a" },
  ...rest,
});

const examples: readonly { what: string; object: ReturnType<typeof given>; field: string; expected: unknown }[] = [
  {
    what: "a Service's type, target port and policy",
    object: given("v1", "Service", { spec: { ports: [{ port: 80 }] } }),
    field: "spec",
    expected: {
      ports: [{ port: 80, protocol: "TCP", targetPort: 80 }],
      type: "ClusterIP",
      sessionAffinity: "None",
      internalTrafficPolicy: "Cluster",
    },
  },
  {
    what: "a target port of 0, which Go programs write for none",
    object: given("v1", "Service", { spec: { ports: [{ port: 80, targetPort: 0, nodePort: 0 }] } }),
    field: "spec",
    expected: {
      ports: [{ port: 80, protocol: "TCP", targetPort: 80 }],
      type: "ClusterIP",
      sessionAffinity: "None",
      internalTrafficPolicy: "Cluster",
    },
  },
  {
    what: "what containers get by a LimitRange that says only how much they may have",
    object: given("v1", "LimitRange", {
      spec: {
        limits: [
          {
            type: "Container",
            min: { cpu: "10m", memory: "1Mi", storage: "1" },
            max: { cpu: "2", memory: "1Gi" },
            default: { cpu: "1" },
            defaultRequest: { memory: "2Mi" },
          },
          { type: "Container" },
          { type: "Pod", max: { cpu: "2" } },
        ],
      },
    }),
    field: "spec",
    expected: {
      limits: [
        {
          type: "Container",
          min: { cpu: "10m", memory: "1Mi", storage: "1" },
          max: { cpu: "2", memory: "1Gi" },
          default: { cpu: "1", memory: "1Gi" },
          defaultRequest: { cpu: "1", memory: "2Mi", storage: "1" },
        },
        { type: "Container" },
        { type: "Pod", max: { cpu: "2" } },
      ],
    },
  },
  {
    what: "a Service with affinity and node ports",
    object: given("v1", "Service", { spec: { type: "NodePort", sessionAffinity: "ClientIP", ports: [] } }),
    field: "spec",
    expected: {
      type: "NodePort",
      ports: [],
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } },
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
    },
  },
  {
    what: "text of a Secret becomes data",
    object: given("v1", "Secret", { stringData: { greeting: "hällo" }, data: { other: "eA==" } }),
    field: "data",
    expected: { other: "eA==", greeting: "aMOkbGxv" },
  },
  {
    what: "a namespace's label",
    object: given("v1", "Namespace", {}),
    field: "metadata",
    expected: { name: "a", labels: { "kubernetes.io/metadata.name": "a" } },
  },
  {
    what: "policy types follow the egress rules",
    object: given("networking.k8s.io/v1", "NetworkPolicy", {
      spec: { podSelector: {}, egress: [{ ports: [{ port: 53 }] }] },
    }),
    field: "spec",
    expected: {
      podSelector: {},
      egress: [{ ports: [{ port: 53, protocol: "TCP" }] }],
      policyTypes: ["Ingress", "Egress"],
    },
  },
  {
    what: "an EndpointSlice's ports have a name, if an empty one",
    object: given("discovery.k8s.io/v1", "EndpointSlice", { ports: [{ port: 80 }] }),
    field: "ports",
    expected: [{ port: 80, name: "", protocol: "TCP" }],
  },
  {
    what: "null counts as absent, but not inside of what can be anything",
    object: given("apps/v1", "ControllerRevision", { revision: null, data: { a: null } }),
    field: "data",
    expected: { a: null },
  },
  {
    what: "CRDs' defaults come from their schema",
    object: given("gateway.networking.k8s.io/v1", "HTTPRoute", { spec: { rules: [{}] } }),
    field: "spec",
    expected: { rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }] }] },
  },
];

for (const { what, object, field, expected } of examples)
  test(what, () => {
    const filled = withDefaults(object);
    assert.deepEqual((filled as Record<string, unknown>)[field], expected);
    assert.ok(sameJson(withDefaults(filled), filled), "defaults are filled in once");
  });

test("a Deployment that is recreated does not roll; a template left out is an empty one", () => {
  const { spec } = withDefaults(
    given("apps/v1", "Deployment", { spec: { strategy: { type: "Recreate" } } }),
  ) as unknown as Deployment;
  const { template, ...rest } = spec;
  assert.deepEqual(rest, {
    strategy: { type: "Recreate" },
    replicas: 1,
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
  });
  assert.deepEqual(template.spec.containers, []);
});

test("a pod's containers, probes and volumes, wherever pods are described", () => {
  const spec = {
    hostNetwork: true,
    containers: [
      {
        name: "c",
        image: "registry.example:5000/nginx",
        ports: [{ containerPort: 80 }],
        readinessProbe: { httpGet: { port: 80 } },
        lifecycle: null,
        resources: { limits: { cpu: "1" } },
      },
    ],
    volumes: [{ name: "scratch" }, { name: "config", configMap: { name: "x" } }],
  };
  const pod = withDefaults(given("v1", "Pod", { spec }));
  assert.deepEqual(pod["spec"], {
    hostNetwork: true,
    containers: [
      {
        name: "c",
        image: "registry.example:5000/nginx",
        ports: [{ containerPort: 80, hostPort: 80, protocol: "TCP" }],
        readinessProbe: {
          httpGet: { port: 80, path: "/", scheme: "HTTP" },
          timeoutSeconds: 1,
          periodSeconds: 10,
          successThreshold: 1,
          failureThreshold: 3,
        },
        resources: { limits: { cpu: "1" }, requests: { cpu: "1" } },
        terminationMessagePath: "/dev/termination-log",
        terminationMessagePolicy: "File",
        imagePullPolicy: "Always",
      },
    ],
    volumes: [
      { name: "scratch", emptyDir: {} },
      { name: "config", configMap: { name: "x", defaultMode: 420 } },
    ],
    dnsPolicy: "ClusterFirst",
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 30,
    securityContext: {},
    schedulerName: "default-scheduler",
    enableServiceLinks: true,
  });
  const template = withDefaults(given("apps/v1", "ReplicaSet", { spec: { template: { spec } } }));
  const inTemplate = (
    template["spec"] as {
      template: { spec: { enableServiceLinks?: boolean; containers: readonly { ports: unknown }[] } };
    }
  ).template.spec;
  assert.equal(inTemplate.enableServiceLinks, undefined, "only pods have it");
  const hasty = { ...spec, terminationGracePeriodSeconds: -1 };
  const graceIn = (value: unknown): unknown =>
    (value as { readonly terminationGracePeriodSeconds?: number }).terminationGracePeriodSeconds;
  assert.equal(graceIn(withDefaults(given("v1", "Pod", { spec: hasty }))["spec"]), 1);
  const ofHasty = withDefaults(given("v1", "PodTemplate", { template: { spec: hasty } }));
  assert.equal(
    graceIn((ofHasty["template"] as { readonly spec: object }).spec),
    -1,
    "a template keeps what it was given",
  );
  assert.deepEqual(
    inTemplate.containers[0]?.ports,
    [{ containerPort: 80, protocol: "TCP" }],
    "host ports come with the pod",
  );
});

for (const [image, policy] of [
  ["nginx", "Always"],
  ["nginx:latest", "Always"],
  ["nginx:1.27", "IfNotPresent"],
  ["host:5000/nginx", "Always"],
  ["nginx@sha256:0a", "IfNotPresent"],
] as const)
  test(`image ${image} is pulled: ${policy}`, () => {
    const pod = withDefaults(given("v1", "Pod", { spec: { containers: [{ name: "c", image }] } }));
    assert.equal((pod["spec"] as { containers: { imagePullPolicy: string }[] }).containers[0]?.imagePullPolicy, policy);
  });
