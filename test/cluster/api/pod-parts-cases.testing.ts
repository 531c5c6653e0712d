// Pods: their volumes, and where they go.

import { casesOf, type Case, type Row } from "./case.testing.ts";

const container = { name: "c", image: "busybox" };
const pod = (spec: object): object => ({ spec: { containers: [container], ...spec } });
const volume = (source: object): object => pod({ volumes: [{ name: "v", ...source }] });
const projected = (source: object): object => volume({ projected: { sources: [source] } });
const mount = (fields: object): object =>
  pod({
    volumes: [{ name: "v", emptyDir: {} }],
    containers: [{ ...container, volumeMounts: [{ name: "v", mountPath: "/v", ...fields }] }],
  });
const term = (fields: object): object =>
  pod({
    affinity: {
      podAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: "zone", labelSelector: {}, ...fields }],
      },
    },
  });
const nodeTerm = (fields: object): object =>
  pod({
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [fields] } } },
  });

const volumes: readonly Row[] = [
  [
    "volumes of all kinds",
    pod({
      volumes: [
        { name: "a", configMap: { name: "x" } },
        { name: "b", secret: { secretName: "x" } },
        { name: "d", hostPath: { path: "/x" } },
        { name: "e", downwardAPI: { items: [{ path: "x", fieldRef: { fieldPath: "metadata.name" } }] } },
        { name: "f", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } },
        { name: "g" },
        { name: "h", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } },
        { name: "i", persistentVolumeClaim: { claimName: "x" } },
        {
          name: "j",
          ephemeral: {
            volumeClaimTemplate: {
              spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
            },
          },
        },
        { name: "k", nfs: { server: "x", path: "/y" } },
        { name: "l", iscsi: { targetPortal: "x:3260", iqn: "iqn.2001-04.com.example:x", lun: 0 } },
        { name: "m", csi: { driver: "a.b" } },
        { name: "n", image: { reference: "x" } },
        { name: "o", rbd: { monitors: ["x"], image: "y" } },
      ],
    }),
  ],
  ["volumes without names", pod({ volumes: [{ emptyDir: {} }, { name: "A_b" }, { name: "a" }, { name: "a" }] })],
  ["a volume of two kinds", volume({ emptyDir: {}, hostPath: { path: "/x" } })],
  ["a host's path", volume({ hostPath: { path: "" } })],
  ["a host's path with a way up", volume({ hostPath: { path: "/a/../b", type: "Foo" } })],
  [
    "a config map without name",
    volume({
      configMap: {
        defaultMode: 1000,
        items: [
          { key: "", path: "" },
          { key: "a", path: "/b" },
          { key: "a", path: "../b", mode: 1000 },
        ],
      },
    }),
  ],
  ["a secret without name", volume({ secret: { defaultMode: -1, items: [{ key: "a", path: "b/../c" }] } })],
  ["a size that is none", volume({ emptyDir: { sizeLimit: "-1", medium: "Foo" } })],
  ["a claim without name", volume({ persistentVolumeClaim: { claimName: "" } })],
  ["a claim of the pod", volume({ ephemeral: {} })],
  [
    "a claim of the pod that asks for nothing",
    volume({ ephemeral: { volumeClaimTemplate: { metadata: { name: "x" }, spec: {} } } }),
  ],
  ["a share without server", volume({ nfs: { server: "", path: "x/.." } })],
  ["a disk without driver", volume({ csi: { driver: "A_b" } })],
  [
    "facts without paths",
    volume({
      downwardAPI: {
        defaultMode: 9999,
        items: [
          { path: "" },
          { path: "/a", fieldRef: { fieldPath: "metadata.name" } },
          { path: "b", fieldRef: { fieldPath: "spec.nodeName" } },
          { path: "c", fieldRef: { fieldPath: "metadata.name" }, resourceFieldRef: { resource: "limits.cpu" } },
          { path: "d", resourceFieldRef: { resource: "limits.cpu" } },
          { path: "e", resourceFieldRef: { containerName: "c", resource: "limits.cpu" }, mode: -1 },
        ],
      },
    }),
  ],
  ["nothing projected", volume({ projected: {} })],
  ["an empty projection", projected({})],
  ["two projections in one", projected({ configMap: { name: "x" }, secret: { name: "y" } })],
  ["a token", projected({ serviceAccountToken: { path: "t", expirationSeconds: 5 } })],
  ["a token without path", projected({ serviceAccountToken: { path: "", expirationSeconds: 2 ** 33 } })],
  [
    "projections of one path",
    volume({
      projected: {
        sources: [
          { configMap: { name: "x", items: [{ key: "a", path: "p" }] } },
          { secret: { name: "y", items: [{ key: "a", path: "p" }] } },
        ],
      },
    }),
  ],
  [
    "projections without names",
    volume({
      projected: {
        defaultMode: 9999,
        sources: [{ configMap: {} }, { secret: {} }, { downwardAPI: { items: [{ path: "x" }] } }],
      },
    }),
  ],
  ["a bundle", projected({ clusterTrustBundle: { path: "x" } })],
  ["mounts", mount({ readOnly: true, subPath: "a", mountPropagation: "HostToContainer" })],
  ["a mount of nothing", mount({ name: "nope" })],
  ["a mount without name", mount({ name: "" })],
  ["a mount without path", mount({ mountPath: "" })],
  ["a mount with a way up", mount({ subPath: "../x" })],
  ["a mount with two sub-paths", mount({ subPath: "a", subPathExpr: "/b" })],
  ["a mount with odd propagation", mount({ mountPropagation: "Foo" })],
  ["a mount with propagation both ways", mount({ mountPropagation: "Bidirectional" })],
  ["a mount that is recursively read", mount({ recursiveReadOnly: "Foo" })],
  ["a mount that is recursively read and written", mount({ recursiveReadOnly: "Enabled" })],
  [
    "two mounts in one place",
    pod({
      volumes: [{ name: "v", emptyDir: {} }],
      containers: [
        {
          ...container,
          volumeMounts: [
            { name: "v", mountPath: "/v" },
            { name: "v", mountPath: "/v" },
          ],
        },
      ],
    }),
  ],
  [
    "devices",
    pod({
      volumes: [{ name: "v", emptyDir: {} }],
      containers: [
        {
          ...container,
          volumeDevices: [
            { name: "v", devicePath: "/dev/x" },
            { name: "", devicePath: "" },
            { name: "v", devicePath: "/../x" },
          ],
        },
      ],
    }),
  ],
];

const scheduling: readonly Row[] = [
  ["policies that are none", pod({ restartPolicy: "Foo", dnsPolicy: "Bar" })],
  ["a node's labels", pod({ nodeSelector: { "a b": "c d" } })],
  ["a node's old labels", pod({ nodeSelector: { "beta.kubernetes.io/os": "linux" } })],
  [
    "tolerations",
    pod({
      tolerations: [
        { key: "a b" },
        { operator: "Equal" },
        { key: "a", operator: "Exists", value: "x" },
        { key: "a", operator: "Foo" },
        { key: "a", effect: "Foo" },
        { key: "a", tolerationSeconds: 5, effect: "NoSchedule" },
        { key: "a", value: "x y" },
        { key: "a", operator: "Lt", value: "x" },
        { operator: "Exists" },
      ],
    }),
  ],
  ["terms", term({ namespaces: ["A b"], topologyKey: "a b" })],
  ["terms without key", term({ topologyKey: "" })],
  ["terms without selector", term({ labelSelector: undefined })],
  [
    "terms with selectors that are none",
    term({
      labelSelector: { matchLabels: { "a b": "c" } },
      namespaceSelector: { matchExpressions: [{ key: "a", operator: "X" }] },
    }),
  ],
  ["terms with keys of labels", term({ matchLabelKeys: ["a", "b c"], mismatchLabelKeys: ["a"] })],
  [
    "terms with weights",
    pod({
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 0, podAffinityTerm: { topologyKey: "a", labelSelector: {} } },
            { weight: 101, podAffinityTerm: { topologyKey: "a", labelSelector: {} } },
          ],
        },
      },
    }),
  ],
  [
    "nodes",
    nodeTerm({
      matchExpressions: [
        { key: "a", operator: "In" },
        { key: "a", operator: "Exists", values: ["x"] },
        { key: "a", operator: "Gt", values: ["x"] },
        { key: "a", operator: "Gt", values: ["1", "2"] },
        { key: "a b", operator: "Foo" },
        { key: "a", operator: "In", values: ["x y"] },
      ],
      matchFields: [
        { key: "x", operator: "In", values: ["a"] },
        { key: "metadata.name", operator: "Exists" },
        { key: "metadata.name", operator: "In", values: ["a", "b"] },
        { key: "metadata.name", operator: "In", values: ["A_b"] },
      ],
    }),
  ],
  [
    "no nodes",
    pod({ affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } } }),
  ],
  [
    "nodes with weights",
    pod({
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 0, preference: {} },
            { weight: 5, preference: { matchExpressions: [{ key: "a", operator: "In", values: ["x y"] }] } },
          ],
        },
      },
    }),
  ],
  [
    "spreads",
    pod({
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: "x", whenUnsatisfiable: "DoNotSchedule" },
        { maxSkew: 0, topologyKey: "", whenUnsatisfiable: "Foo" },
        { maxSkew: 1, topologyKey: "x", whenUnsatisfiable: "DoNotSchedule", labelSelector: {} },
        { maxSkew: 1, topologyKey: "y z", whenUnsatisfiable: "ScheduleAnyway", minDomains: 2 },
        {
          maxSkew: 1,
          topologyKey: "y",
          whenUnsatisfiable: "DoNotSchedule",
          minDomains: -1,
          nodeAffinityPolicy: "Foo",
          nodeTaintsPolicy: "Foo",
          matchLabelKeys: ["a b"],
          labelSelector: { matchLabels: { "a b": "c" } },
        },
      ],
    }),
  ],
  [
    "spreads with keys",
    {
      metadata: { labels: { app: "x" } },
      ...pod({
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: "x",
            whenUnsatisfiable: "DoNotSchedule",
            matchLabelKeys: ["app"],
            labelSelector: { matchLabels: { a: "b" } },
          },
        ],
      }),
    },
  ],
  ["gates", pod({ schedulingGates: [{ name: "a" }, { name: "a" }, { name: "" }, { name: "A b" }] })],
  ["gates and a node", pod({ nodeName: "n", schedulingGates: [{ name: "a" }] })],
  [
    "gates that open",
    pod({ schedulingGates: [{ name: "a" }, { name: "b" }] }),
    { spec: { schedulingGates: [{ name: "a" }], nodeSelector: { x: "y" } } },
    { spec: { schedulingGates: [{ name: "z" }] } },
    { spec: { nodeSelector: { x: "z" } } },
    { spec: { schedulingGates: [] } },
    { spec: { nodeSelector: { x: "y", z: "z" } } },
  ],
  ["readiness", pod({ readinessGates: [{ conditionType: "a b" }, { conditionType: "" }, { conditionType: "a.b/c" }] })],
  ["a priority", pod({ priorityClassName: "nope" })],
  ["a priority of the system", pod({ priorityClassName: "system-node-critical" })],
  ["a priority that is a number", pod({ priority: 5 })],
  ["a preemption policy that is none", pod({ preemptionPolicy: "Foo" })],
  ["an overhead", pod({ overhead: { cpu: "1" } })],
  ["a scheduler", pod({ schedulerName: "A b" })],
  ["a runtime", pod({ runtimeClassName: "A b" })],
];

export const cases: readonly Case[] = casesOf("v1/pods", [...volumes, ...scheduling]);
