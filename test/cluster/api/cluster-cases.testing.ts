// What a cluster is made of besides workloads and network: nodes, namespaces, configuration, permissions, storage, events, admission.

import { casesOf, status, type Case } from "./case.testing.ts";

const node = (spec: object): object => ({ spec });
const nodes = casesOf("v1/nodes", [
  [
    "plain",
    node({ podCIDR: "10.0.0.0/24" }),
    { spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] } },
    { spec: { unschedulable: true } },
    { spec: { taints: [{ key: "a", effect: "NoSchedule" }] } },
    { spec: { taints: [{ key: "a b", effect: "X" }] } },
    { spec: { providerID: "x" } },
    { spec: { providerID: "y" } },
    { metadata: { labels: { a: "b" } } },
    status({ capacity: { cpu: "1", pods: "110" } }),
    status({
      addresses: [
        { type: "InternalIP", address: "192.0.2.1" },
        { type: "InternalIP", address: "192.0.2.1" },
      ],
    }),
    status({ addresses: [{ type: "InternalIP", address: "x" }] }),
    status({
      conditions: [{ type: "Ready", status: "True" }],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      phase: "Running",
    }),
    status({ capacity: { cpu: "-1", "a b": "1" } }),
    status({ config: {} }),
  ],
  ["without anything", {}],
  ["two ranges", node({ podCIDRs: ["10.0.0.0/24", "fd00::/64"] })],
  ["two ranges of a family", node({ podCIDRs: ["10.0.0.0/24", "10.1.0.0/24"] })],
  ["three ranges", node({ podCIDRs: ["10.0.0.0/24", "fd00::/64", "fd01::/64"] })],
  ["ranges that are none", node({ podCIDRs: ["x", "10.0.0.1/24"] })],
  ["ranges that do not agree", node({ podCIDR: "10.0.0.0/24", podCIDRs: ["10.1.0.0/24"] })],
  [
    "taints",
    node({
      taints: [
        { key: "x", effect: "Foo" },
        { key: "", effect: "NoSchedule" },
        { key: "a b", value: "c d", effect: "NoSchedule" },
        { key: "y" },
        { key: "z", effect: "NoExecute" },
        { key: "z", effect: "NoExecute", value: "v" },
      ],
    }),
  ],
  ["a time of a taint", node({ taints: [{ key: "x", effect: "NoSchedule", timeAdded: "2026-01-01T00:00:00Z" }] })],
  ["old fields", node({ externalID: "x", configSource: {} })],
  [
    "a status of its own",
    { status: { capacity: { cpu: "4" }, addresses: [{ type: "InternalIP", address: "192.0.2.1" }] } },
  ],
  ["a status of its own that is none", { status: { capacity: { cpu: "x-1" } } }],
  [
    "pods to avoid",
    {
      metadata: {
        annotations: {
          "scheduler.alpha.kubernetes.io/preferAvoidPods": "x",
          "scheduler.alpha.kubernetes.io/taints": "x",
        },
      },
    },
  ],
  ["a name that is none", { metadata: { name: "A_b" } }],
]);

const namespaces = casesOf("v1/namespaces", [
  [
    "plain",
    {},
    { metadata: { labels: { a: "b", "kubernetes.io/metadata.name": "x" } } },
    { spec: { finalizers: ["a.b/c"] } },
    { metadata: { labels: { "pod-security.kubernetes.io/enforce": "x" } } },
    status({ phase: "Foo" }),
    status({ phase: "Terminating" }),
  ],
  ["finalizers", { metadata: { name: "it-2" }, spec: { finalizers: ["x", "a.b/c"] } }],
  ["a name with a dot", { metadata: { name: "a.b" } }],
  ["a name that is too long", { metadata: { name: "a".repeat(64) } }],
]);

const configMaps = casesOf("v1/configmaps", [
  [
    "plain",
    { data: { a: "b" }, binaryData: { x: "AAEC" } },
    { data: { a: "c" } },
    { immutable: true },
    { data: { a: "d" } },
    { immutable: false },
    { immutable: null },
    { metadata: { labels: { a: "b" } } },
  ],
  [
    "keys",
    { data: { "a/b": "b", x: "1", "": "", "..": "", ".": "", "..a": "" }, binaryData: { x: "AAEC", "a b": "" } },
  ],
  ["without anything", {}],
]);

const secrets = casesOf("v1/secrets", [
  [
    "plain",
    { stringData: { a: "b" } },
    { data: { a: "Yg==" } },
    { type: "x" },
    { immutable: true },
    { data: { a: "Yw==" } },
    { immutable: false },
    { stringData: { z: "y" } },
  ],
  ["of certificates", { type: "kubernetes.io/tls" }],
  ["of empty certificates", { type: "kubernetes.io/tls", data: { "tls.crt": "", "tls.key": "" } }],
  ["of images", { type: "kubernetes.io/dockerconfigjson" }],
  ["of images that is none", { type: "kubernetes.io/dockerconfigjson", stringData: { ".dockerconfigjson": "{" } }],
  ["of old images", { type: "kubernetes.io/dockercfg", stringData: { ".dockercfg": "x" } }],
  ["of a user", { type: "kubernetes.io/basic-auth", data: { x: "" } }],
  ["of a key", { type: "kubernetes.io/ssh-auth" }],
  ["of an account", { type: "kubernetes.io/service-account-token" }],
  ["keys", { data: { "a/b": "", "..": "" } }],
]);

const accounts = casesOf("v1/serviceaccounts", [
  [
    "plain",
    { secrets: [{ name: "x" }], imagePullSecrets: [{ name: "y" }], automountServiceAccountToken: false },
    { automountServiceAccountToken: null },
  ],
  ["an old annotation", { metadata: { annotations: { "kubernetes.io/enforce-mountable-secrets": "true" } } }],
]);

const limits = casesOf("v1/limitranges", [
  [
    "plain",
    { spec: { limits: [{ type: "Container", max: { cpu: "1" }, default: { cpu: "500m" } }] } },
    { spec: { limits: [] } },
  ],
  ["without anything", {}],
  ["more than it may", { spec: { limits: [{ type: "Container", max: { cpu: "1" }, min: { cpu: "2" } }] } }],
  [
    "defaults out of range",
    {
      spec: {
        limits: [
          {
            type: "Container",
            max: { cpu: "1" },
            min: { cpu: "500m" },
            default: { cpu: "2" },
            defaultRequest: { cpu: "100m" },
          },
        ],
      },
    },
  ],
  [
    "defaults that cross",
    { spec: { limits: [{ type: "Container", default: { cpu: "1" }, defaultRequest: { cpu: "2" } }] } },
  ],
  [
    "a type twice",
    {
      spec: {
        limits: [
          { type: "Container", max: { cpu: "1" } },
          { type: "Container", max: { cpu: "1" } },
        ],
      },
    },
  ],
  [
    "types",
    {
      spec: {
        limits: [
          { type: "Pod", max: { cpu: "1" }, default: { cpu: "1" }, defaultRequest: { cpu: "1" } },
          { type: "Foo", max: { cpu: "1" } },
          { type: "a.b/c" },
          { type: "PersistentVolumeClaim" },
          { type: "" },
        ],
      },
    },
  ],
  [
    "claims",
    { spec: { limits: [{ type: "PersistentVolumeClaim", max: { storage: "5Gi" }, min: { storage: "1Gi" } }] } },
  ],
  [
    "ratios",
    {
      spec: {
        limits: [
          {
            type: "Container",
            min: { cpu: "1" },
            max: { cpu: "2" },
            maxLimitRequestRatio: { cpu: "500m", memory: "3" },
          },
        ],
      },
    },
  ],
  [
    "ratios that are too large",
    {
      spec: {
        limits: [{ type: "Container", min: { cpu: "1" }, max: { cpu: "2" }, maxLimitRequestRatio: { cpu: "5" } }],
      },
    },
  ],
  ["names of resources", { spec: { limits: [{ type: "Container", max: { foo: "1", "a b": "1" } }] } }],
]);

const quotas = casesOf("v1/resourcequotas", [
  [
    "plain",
    { spec: { hard: { pods: "100", services: "100" } } },
    { spec: { hard: { pods: "50" } } },
    { spec: { scopes: ["BestEffort"] } },
    status({ hard: { pods: "1" }, used: { pods: "-1" } }),
  ],
  ["without anything", {}],
  [
    "numbers that are none",
    { spec: { hard: { pods: "-1", services: "500m", foo: "1", "a b": "1", "count/x.y": "1" } } },
  ],
  ["scopes", { spec: { hard: { pods: "1", cpu: "1" }, scopes: ["BestEffort", "NotBestEffort", "Foo"] } }],
  [
    "scopes of classes",
    {
      spec: {
        hard: { pods: "1" },
        scopeSelector: {
          matchExpressions: [
            { scopeName: "PriorityClass", operator: "In" },
            { scopeName: "Foo", operator: "Exists" },
            { scopeName: "Terminating", operator: "In", values: ["x"] },
          ],
        },
      },
    },
  ],
]);

const claims = casesOf("v1/persistentvolumeclaims", [
  [
    "plain",
    { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } } },
    { spec: { resources: { requests: { storage: "2Gi" } } } },
    { spec: { accessModes: ["ReadOnlyMany"] } },
    { spec: { storageClassName: "x" } },
    { metadata: { labels: { a: "b" } } },
    status({ phase: "Bound", capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"] }),
    { spec: { resources: { requests: { storage: "500Mi" } } } },
  ],
  ["without anything", {}],
  ["without modes", { spec: { resources: { requests: { storage: "1Gi" } } } }],
  ["modes that are none", { spec: { accessModes: ["Foo"], resources: { requests: { storage: "1Gi" } } } }],
  [
    "modes that do not go together",
    { spec: { accessModes: ["ReadWriteOnce", "ReadWriteOncePod"], resources: { requests: { storage: "1Gi" } } } },
  ],
  ["no space", { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "0" } } } }],
  [
    "a volume mode that is none",
    { spec: { accessModes: ["ReadWriteOnce"], volumeMode: "Foo", resources: { requests: { storage: "1Gi" } } } },
  ],
  [
    "a class that is none",
    { spec: { accessModes: ["ReadWriteOnce"], storageClassName: "A_b", resources: { requests: { storage: "1Gi" } } } },
  ],
  [
    "a selector that is none",
    {
      spec: {
        accessModes: ["ReadWriteOnce"],
        selector: { matchLabels: { "a b": "c" } },
        resources: { requests: { storage: "1Gi" } },
      },
    },
  ],
  [
    "a source",
    {
      spec: {
        accessModes: ["ReadWriteOnce"],
        dataSource: { kind: "PersistentVolumeClaim", name: "x" },
        resources: { requests: { storage: "1Gi" } },
      },
    },
  ],
  [
    "a source that is none",
    {
      spec: {
        accessModes: ["ReadWriteOnce"],
        dataSource: { kind: "", name: "" },
        resources: { requests: { storage: "1Gi" } },
      },
    },
  ],
]);

const volumes = casesOf("v1/persistentvolumes", [
  [
    "plain",
    { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/x" } } },
    { spec: { capacity: { storage: "2Gi" } } },
    { spec: { hostPath: { path: "/y" } } },
    { spec: { persistentVolumeReclaimPolicy: "Recycle" } },
    status({ phase: "Bound" }),
  ],
  ["without anything", {}],
  ["without source", { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"] } }],
  [
    "two sources",
    {
      spec: {
        capacity: { storage: "1Gi" },
        accessModes: ["ReadWriteOnce"],
        hostPath: { path: "/x" },
        nfs: { server: "x", path: "/y" },
      },
    },
  ],
  [
    "modes that are none",
    { spec: { capacity: { storage: "-1", cpu: "1" }, accessModes: ["Foo"], hostPath: { path: "/x/.." } } },
  ],
  [
    "policies that are none",
    {
      spec: {
        capacity: { storage: "1Gi" },
        accessModes: ["ReadWriteOnce"],
        persistentVolumeReclaimPolicy: "Foo",
        volumeMode: "Foo",
        storageClassName: "A_b",
        hostPath: { path: "/x" },
      },
    },
  ],
  ["a local one", { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], local: { path: "/x" } } }],
]);

const role = (rules: object[]): object => ({ rules });
const roles = casesOf("rbac.authorization.k8s.io/v1/roles", [
  [
    "plain",
    role([{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }]),
    { rules: [{ apiGroups: [""], resources: ["pods"], verbs: [] }] },
    { rules: null },
  ],
  ["without anything", {}],
  ["without verbs", role([{ apiGroups: [""], resources: ["pods"] }])],
  ["with paths", role([{ verbs: ["get"], nonResourceURLs: ["/x"] }])],
  ["without groups", role([{ verbs: ["get"], resources: ["pods"] }])],
  ["without resources", role([{ verbs: ["get"], apiGroups: [""] }])],
  ["of both", role([{ verbs: ["get"], apiGroups: [""], resources: ["pods"], nonResourceURLs: ["/x"] }])],
  ["a name like a path", { metadata: { name: "system:a:b" }, rules: [] }],
]);
const clusterRoles = casesOf("rbac.authorization.k8s.io/v1/clusterroles", [
  [
    "plain",
    { metadata: { name: "j:it" }, rules: [{ nonResourceURLs: ["/x"], verbs: ["get"] }] },
    { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { "a b": "c" } }] } },
  ],
  [
    "of both",
    {
      metadata: { name: "j:it" },
      rules: [{ nonResourceURLs: ["/x"], verbs: ["get"], apiGroups: [""], resources: ["pods"] }, { verbs: [] }],
    },
  ],
  [
    "aggregated",
    { metadata: { name: "j:it" }, aggregationRule: { clusterRoleSelectors: [{ matchLabels: { "a b": "c" } }] } },
  ],
  ["aggregated of nothing", { metadata: { name: "j:it" }, aggregationRule: {} }],
]);
const roleRef = { kind: "Role", name: "r", apiGroup: "rbac.authorization.k8s.io" };
const bindings = casesOf("rbac.authorization.k8s.io/v1/rolebindings", [
  [
    "plain",
    {
      roleRef,
      subjects: [
        { kind: "User", name: "u" },
        { kind: "ServiceAccount", name: "s", namespace: "d3" },
        { kind: "Group", name: "g" },
      ],
    },
    { roleRef: { name: "other" } },
    { subjects: [] },
    { subjects: [{ kind: "X" }] },
  ],
  ["without anything", {}],
  [
    "names that are none",
    {
      roleRef: { kind: "Foo", name: "", apiGroup: "x" },
      subjects: [
        { kind: "Bar", name: "u" },
        { kind: "ServiceAccount", name: "s" },
        { kind: "User" },
        { kind: "ServiceAccount", name: "A_b", namespace: "x", apiGroup: "y" },
        { kind: "User", name: "u", apiGroup: "x" },
        { kind: "Group", name: "", apiGroup: "x" },
      ],
    },
  ],
  ["odd names", { roleRef: { kind: "Role", name: "a/b" } }],
]);
const clusterBindings = casesOf("rbac.authorization.k8s.io/v1/clusterrolebindings", [
  [
    "plain",
    {
      metadata: { name: "j:it" },
      roleRef: { kind: "ClusterRole", name: "view" },
      subjects: [{ kind: "User", name: "u" }],
    },
    { roleRef: { name: "edit" } },
  ],
  [
    "a role",
    {
      metadata: { name: "j:it" },
      roleRef: { kind: "Role", name: "view" },
      subjects: [{ kind: "ServiceAccount", name: "x" }],
    },
  ],
]);

const leases = casesOf("coordination.k8s.io/v1/leases", [
  [
    "plain",
    { spec: { holderIdentity: "x", leaseDurationSeconds: 15, renewTime: "2024-01-01T00:00:00.000000Z" } },
    { spec: { leaseTransitions: 1 } },
  ],
  ["without anything", {}],
  ["numbers that are none", { spec: { leaseDurationSeconds: -1, leaseTransitions: -1 } }],
  ["no time at all", { spec: { leaseDurationSeconds: 0 } }],
  ["strategies", { spec: { strategy: "Foo", preferredHolder: "x" } }],
  ["a holder that prefers", { spec: { preferredHolder: "x" } }],
]);

const involvedObject = { kind: "Pod", name: "p", namespace: "compared" };
const events = casesOf("v1/events", [
  ["plain", { involvedObject, reason: "X", message: "m", type: "Normal" }, { count: 2 }, { reason: "Y" }],
  ["of another namespace", { involvedObject: { ...involvedObject, namespace: "zz" }, reason: "X" }],
  ["of no namespace", { involvedObject: { kind: "Node", name: "n" }, reason: "X" }],
  ["of a pod without namespace", { involvedObject: { kind: "Pod", name: "n", apiVersion: "v1" }, reason: "X" }],
  ["without anything", {}],
  ["with a time", { involvedObject, eventTime: "2026-01-01T00:00:00.000000Z" }],
  [
    "with a time and who says it",
    {
      involvedObject,
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingComponent: "a b",
      reportingInstance: "x",
      action: "y",
      reason: "z",
      type: "Foo",
    },
  ],
  ["of a type that is none", { involvedObject, type: "Foo" }],
]);
const regarding = involvedObject;
const newEvents = casesOf("events.k8s.io/v1/events", [
  ["without a time", { regarding, reason: "X", note: "m", type: "Normal" }],
  [
    "plain",
    {
      regarding,
      reason: "X",
      note: "m",
      type: "Normal",
      action: "A",
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController: "a.b/c",
      reportingInstance: "x",
    },
    { series: { count: 2, lastObservedTime: "2026-01-01T00:00:05.000000Z" } },
    { reason: "Y" },
    { note: "n" },
  ],
  ["without anything", {}],
  [
    "of a type that is none",
    {
      regarding,
      reason: "X",
      type: "Foo",
      action: "A",
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController: "a b",
      reportingInstance: "x",
    },
  ],
  [
    "old fields",
    {
      regarding,
      reason: "X",
      type: "Normal",
      action: "A",
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController: "a",
      reportingInstance: "x",
      deprecatedCount: 5,
      deprecatedSource: { component: "x" },
    },
  ],
]);

const others = [
  ...casesOf("scheduling.k8s.io/v1/priorityclasses", [
    ["plain", { value: 5 }, { value: 6 }, { description: "x" }, { preemptionPolicy: "Never" }],
    ["too much", { value: 2_000_000_000 }],
    ["of the system", { metadata: { name: "system-x" }, value: 5 }],
    ["a policy that is none", { value: 5, preemptionPolicy: "Foo" }],
  ]),
  ...casesOf("storage.k8s.io/v1/storageclasses", [
    [
      "plain",
      { provisioner: "x.y/z" },
      { provisioner: "a.b/c" },
      { reclaimPolicy: "Retain" },
      { parameters: { a: "b" } },
      { allowVolumeExpansion: true },
    ],
    ["without anything", {}],
    [
      "names that are none",
      { provisioner: "A b", reclaimPolicy: "Foo", volumeBindingMode: "Foo", parameters: { "": "x" } },
    ],
  ]),
  ...casesOf("node.k8s.io/v1/runtimeclasses", [
    ["plain", { handler: "x" }, { handler: "y" }],
    ["without anything", {}],
    [
      "a handler that is none",
      {
        handler: "A_b",
        overhead: { podFixed: { cpu: "-1" } },
        scheduling: { nodeSelector: { "a b": "c" }, tolerations: [{ key: "a b" }] },
      },
    ],
  ]),
];

export const cases: readonly Case[] = [
  ...nodes,
  ...namespaces,
  ...configMaps,
  ...secrets,
  ...accounts,
  ...limits,
  ...quotas,
  ...claims,
  ...volumes,
  ...roles,
  ...clusterRoles,
  ...bindings,
  ...clusterBindings,
  ...leases,
  ...events,
  ...newEvents,
  ...others,
];
