// Kinds that make pods: Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, and what scales and protects them.

import { casesOf, of, status, type Case } from "./case.testing.ts";

const podSpec = { containers: [{ name: "c", image: "nginx" }] };
const template = { metadata: { labels: { app: "a" } }, spec: podSpec };
const rich = {
  metadata: { labels: { app: "a" } },
  spec: {
    containers: [
      { name: "c", image: "nginx", ports: [{ containerPort: 80 }], readinessProbe: { httpGet: { port: 80 } } },
    ],
    volumes: [{ name: "h", hostPath: { path: "/x" } }],
    topologySpreadConstraints: [{ maxSkew: 1, topologyKey: "x", whenUnsatisfiable: "DoNotSchedule" }],
  },
};
const selector = { matchLabels: { app: "a" } };
const set = (spec: object): object => ({ spec: { selector, template, ...spec } });
const badTemplate = {
  metadata: { labels: { "a b": "c" } },
  spec: {
    restartPolicy: "Never",
    activeDeadlineSeconds: 5,
    containers: [{ name: "A_b" }],
    ephemeralContainers: [{ name: "e", image: "x" }],
  },
};
const jobTemplate = { spec: { restartPolicy: "Never", ...podSpec } };
const job = (spec: object): object => ({ spec: { template: jobTemplate, ...spec } });
const cron = (spec: object): object => ({
  spec: { schedule: "* * * * *", jobTemplate: { spec: { template: jobTemplate } }, ...spec },
});
const scaler = (spec: object): object => ({
  spec: { maxReplicas: 3, scaleTargetRef: { kind: "Deployment", name: "d", apiVersion: "apps/v1" }, ...spec },
});
const conditions = [
  {
    type: "Available",
    status: "True",
    lastTransitionTime: "2026-01-01T00:00:00Z",
    lastUpdateTime: "2026-01-01T00:00:00Z",
    reason: "x",
    message: "y",
  },
];

const deployments = casesOf("apps/v1/deployments", [
  [
    "plain",
    set({ template: rich }),
    { spec: { replicas: 3 } },
    { spec: { selector: { matchLabels: { app: "b" } } } },
    { spec: { template: { metadata: { labels: { app: "b" } } } } },
    { spec: { template: { spec: { containers: [{ name: "c", image: "x:2" }] } } } },
    of("scale", { spec: { replicas: 5 } }),
    of("scale", { spec: { replicas: -1 } }),
    status({
      replicas: 2,
      updatedReplicas: 2,
      readyReplicas: 1,
      availableReplicas: 1,
      unavailableReplicas: 1,
      conditions,
    }),
    status({ replicas: -1 }),
    status({ replicas: 1, readyReplicas: 2 }),
    status({ replicas: 1, readyReplicas: 1, availableReplicas: 2, updatedReplicas: 3 }),
    status({ collisionCount: -1 }),
  ],
  ["without anything", {}],
  ["without selector", { spec: { template } }],
  ["without template", { spec: { selector } }],
  ["without labels", set({ template: { spec: podSpec } })],
  ["labels that do not match", set({ selector: { matchLabels: { app: "b" } } })],
  ["an empty selector", set({ selector: {} })],
  ["a selector that is none", set({ selector: { matchLabels: { "a b": "c" } } })],
  [
    "numbers that are none",
    set({ replicas: -1, minReadySeconds: -1, revisionHistoryLimit: -1, progressDeadlineSeconds: -1 }),
  ],
  ["a deadline that is too short", set({ minReadySeconds: 10, progressDeadlineSeconds: 10 })],
  ["a strategy that is none", set({ strategy: { type: "Foo" } })],
  ["a strategy of both", set({ strategy: { type: "Recreate", rollingUpdate: { maxSurge: 1 } } })],
  ["a strategy that stands still", set({ strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } })],
  ["a strategy of odd numbers", set({ strategy: { rollingUpdate: { maxSurge: "x", maxUnavailable: "101%" } } })],
  ["a strategy of odd amounts", set({ strategy: { rollingUpdate: { maxSurge: -1, maxUnavailable: "-1%" } } })],
  ["a template that is none", set({ template: badTemplate })],
  ["a name with a dot", { metadata: { name: "a.b" }, ...set({}) }],
  [
    "a rollout that is undone",
    { ...set({}), metadata: { annotations: { "deployment.kubernetes.io/revision": "x" } } },
    { spec: { paused: true } },
  ],
]);

const statefulSets = casesOf("apps/v1/statefulsets", [
  [
    "plain",
    set({
      serviceName: "x",
      template: rich,
      volumeClaimTemplates: [
        {
          metadata: { name: "vc" },
          spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
        },
      ],
    }),
    { spec: { replicas: 3 } },
    { spec: { serviceName: "y" } },
    { spec: { podManagementPolicy: "Parallel" } },
    { spec: { selector: { matchLabels: { app: "b" } } } },
    { spec: { revisionHistoryLimit: 3 } },
    { spec: { updateStrategy: { rollingUpdate: { partition: 2 } } } },
    { spec: { updateStrategy: { type: "OnDelete" } } },
    of("scale", { spec: { replicas: 2 } }),
    status({ replicas: -1, readyReplicas: 5, availableReplicas: 7 }),
    status({ replicas: 1, observedGeneration: -1, collisionCount: -1 }),
  ],
  ["without anything", {}],
  ["without a Service", set({})],
  ["policies that are none", set({ podManagementPolicy: "Foo", updateStrategy: { type: "Foo" } })],
  ["partitions that are none", set({ updateStrategy: { rollingUpdate: { partition: -1, maxUnavailable: 0 } } })],
  ["both strategies", set({ updateStrategy: { type: "OnDelete", rollingUpdate: { partition: 1 } } })],
  [
    "numbers that are none",
    set({ replicas: -1, minReadySeconds: -1, revisionHistoryLimit: -1, ordinals: { start: -1 } }),
  ],
  ["claims that are kept", set({ persistentVolumeClaimRetentionPolicy: { whenDeleted: "Delete", whenScaled: "Foo" } })],
  ["a template that is none", set({ template: badTemplate })],
  ["labels that do not match", set({ selector: { matchLabels: { app: "b" } } })],
  ["an empty selector", set({ selector: {} })],
  ["a name with a dot", { metadata: { name: "a.b" }, ...set({}) }],
  ["a Service that is none", set({ serviceName: "A_b" })],
  ["claims that are none", set({ volumeClaimTemplates: [{ metadata: { name: "A_b" }, spec: {} }] })],
]);

const daemonSets = casesOf("apps/v1/daemonsets", [
  [
    "plain",
    set({ template: rich }),
    { spec: { template: { metadata: { annotations: { x: "y" } } } } },
    { spec: { selector: { matchLabels: { app: "b" } } } },
    { spec: { updateStrategy: { type: "OnDelete" } } },
    { spec: { minReadySeconds: 5 } },
    status({
      currentNumberScheduled: -1,
      numberMisscheduled: -1,
      desiredNumberScheduled: -1,
      numberReady: -1,
      updatedNumberScheduled: -1,
      numberAvailable: -1,
      numberUnavailable: -1,
      observedGeneration: -1,
      collisionCount: -1,
    }),
    status({ currentNumberScheduled: 1, desiredNumberScheduled: 1, numberReady: 1 }),
  ],
  ["without anything", {}],
  ["strategies", set({ updateStrategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } } })],
  ["strategies that stand still", set({ updateStrategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } })],
  ["strategies that are none", set({ updateStrategy: { type: "Foo" } })],
  ["strategies of odd numbers", set({ updateStrategy: { rollingUpdate: { maxSurge: "x" } } })],
  ["numbers that are none", set({ minReadySeconds: -1, revisionHistoryLimit: -1 })],
  ["a template that is none", set({ template: badTemplate })],
  ["labels that do not match", set({ selector: { matchLabels: { app: "b" } } })],
  ["an empty selector", set({ selector: {} })],
]);

const replicaSets = casesOf("apps/v1/replicasets", [
  [
    "plain",
    set({ template: rich }),
    { spec: { replicas: 3 } },
    { spec: { selector: { matchLabels: { app: "b" } } } },
    of("scale", { spec: { replicas: 2 } }),
    status({ replicas: -1 }),
    status({ replicas: 1, readyReplicas: 2, availableReplicas: 3, fullyLabeledReplicas: 4 }),
  ],
  ["without anything", {}],
  ["numbers that are none", set({ replicas: -1, minReadySeconds: -1 })],
  ["a template that is none", set({ template: badTemplate })],
  ["labels that do not match", set({ selector: { matchLabels: { app: "b" } } })],
]);

const controllers = casesOf("v1/replicationcontrollers", [
  [
    "plain",
    { spec: { template: rich } },
    { spec: { replicas: 3 } },
    { spec: { selector: { app: "b" } } },
    of("scale", { spec: { replicas: 2 } }),
    status({ replicas: -1 }),
  ],
  ["without anything", {}],
  ["without template", { spec: { selector: { app: "a" } } }],
  ["labels that do not match", { spec: { selector: { app: "b" }, template } }],
  ["without selector", { spec: { template: { spec: podSpec } } }],
  ["numbers that are none", { spec: { replicas: -1, minReadySeconds: -1, template } }],
]);

const revisions = casesOf("apps/v1/controllerrevisions", [
  ["plain", { data: { a: 1 }, revision: 1 }, { data: { a: 2 } }, { revision: 2 }],
  ["without anything", {}],
  ["numbers that are none", { data: { a: 1 }, revision: -1 }],
]);

const templates = casesOf("v1/podtemplates", [
  ["plain", { template }, { template: { spec: { containers: [{ name: "c", image: "y" }] } } }],
  ["without anything", {}],
]);

const jobs = casesOf("batch/v1/jobs", [
  [
    "plain",
    job({}),
    { spec: { suspend: true } },
    { spec: { parallelism: 5 } },
    { spec: { completions: 5 } },
    { spec: { backoffLimit: 2 } },
    { spec: { template: { spec: { containers: [{ name: "c", image: "x:2" }] } } } },
    { spec: { completionMode: "Indexed" } },
    { spec: { selector: { matchLabels: { a: "b" } } } },
    { spec: { ttlSecondsAfterFinished: -1 } },
    status({ active: 1, startTime: "2026-01-01T00:00:00Z" }),
    status({ active: -1, succeeded: -1, failed: -1, ready: -1, terminating: -1 }),
    status({
      conditions: [
        { type: "Complete", status: "True" },
        { type: "Failed", status: "True" },
      ],
    }),
  ],
  ["without anything", {}],
  ["without a policy", { spec: { template: { spec: podSpec } } }],
  ["a policy that is none", { spec: { template: { spec: { ...podSpec, restartPolicy: "Foo" } } } }],
  [
    "numbers that are none",
    job({ parallelism: -1, completions: -1, activeDeadlineSeconds: -1, backoffLimit: -1, ttlSecondsAfterFinished: -1 }),
  ],
  [
    "indexed",
    job({ completionMode: "Indexed", completions: 3, parallelism: 2 }),
    { spec: { completions: 2, parallelism: 2 } },
  ],
  ["indexed without number", job({ completionMode: "Indexed" })],
  ["a mode that is none", job({ completionMode: "Foo" })],
  ["a limit for each", job({ backoffLimitPerIndex: 1 })],
  [
    "a limit for each, indexed",
    job({ completionMode: "Indexed", completions: 3, backoffLimitPerIndex: 1, maxFailedIndexes: 5 }),
  ],
  ["a limit of failures", job({ completionMode: "Indexed", completions: 3, maxFailedIndexes: 1 })],
  ["a selector of its own", job({ selector: { matchLabels: { a: "b" } } })],
  [
    "a selector by hand",
    job({
      manualSelector: true,
      selector: { matchLabels: { a: "b" } },
      template: { ...jobTemplate, metadata: { labels: { a: "b" } } },
    }),
  ],
  ["a selector by hand that is not there", job({ manualSelector: true })],
  [
    "a selector by hand that does not match",
    job({
      manualSelector: true,
      selector: { matchLabels: { a: "c" } },
      template: { ...jobTemplate, metadata: { labels: { a: "b" } } },
    }),
  ],
  [
    "policies of failure",
    job({
      podFailurePolicy: {
        rules: [
          { action: "FailJob", onExitCodes: { operator: "In", values: [1] } },
          { action: "Foo" },
          { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget" }] },
          { action: "FailIndex", onExitCodes: { operator: "X", values: [0, 2, 2, 1], containerName: "nope" } },
          {
            action: "Count",
            onExitCodes: { operator: "In", values: [] },
            onPodConditions: [{ type: "a b", status: "Foo" }],
          },
        ],
      },
    }),
  ],
  [
    "policies of failure of a job that restarts",
    {
      spec: {
        template: { spec: { ...podSpec, restartPolicy: "OnFailure" } },
        podFailurePolicy: {
          rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }],
        },
      },
    },
  ],
  ["policies of success", job({ successPolicy: { rules: [{ succeededCount: 1 }] } })],
  [
    "policies of success, indexed",
    job({
      completionMode: "Indexed",
      completions: 3,
      successPolicy: { rules: [{ succeededIndexes: "0-1", succeededCount: 5 }, { succeededIndexes: "x" }, {}] },
    }),
  ],
  ["a manager", job({ managedBy: "a.b/c" }), { spec: { managedBy: "a.b/d" } }],
  ["a manager that is none", job({ managedBy: "abc" })],
  ["replacements", job({ podReplacementPolicy: "Foo" })],
  [
    "a suspended one",
    job({ suspend: true }),
    { spec: { template: { spec: { nodeSelector: { a: "b" } } } } },
    { spec: { template: { spec: { containers: [{ name: "c", image: "x:2" }] } } } },
  ],
  ["a name with a dot", { metadata: { name: "a.b" }, ...job({}) }],
  ["a name that is too long", { metadata: { name: "a".repeat(64) }, ...job({}) }],
]);

const cronJobs = casesOf("batch/v1/cronjobs", [
  [
    "plain",
    cron({}),
    { spec: { schedule: "@hourly" } },
    { spec: { schedule: "x" } },
    { spec: { suspend: true } },
    status({ lastScheduleTime: "2026-01-01T00:00:00Z", active: [{ name: "x" }] }),
  ],
  ["without anything", {}],
  ["without schedule", { spec: { jobTemplate: { spec: { template: jobTemplate } } } }],
  ["schedules that are none", cron({ schedule: "x" })],
  ["schedules out of range", cron({ schedule: "99 * * * *" })],
  ["schedules with a zone", cron({ schedule: "TZ=UTC * * * * *" })],
  ["schedules of steps", cron({ schedule: "*/5 0-4,8 ? * MON" })],
  ["schedules of time", cron({ schedule: "@every 5m" })],
  ["schedules of no time", cron({ schedule: "@every x" })],
  ["zones", cron({ timeZone: "Europe/Berlin" }), { spec: { timeZone: "Nope/Zone" } }],
  ["a zone that is none", cron({ timeZone: "Nope/Zone" })],
  ["a zone without name", cron({ timeZone: "" })],
  ["a zone of the machine", cron({ timeZone: "Local" })],
  ["a policy that is none", cron({ concurrencyPolicy: "Foo" })],
  [
    "numbers that are none",
    cron({ startingDeadlineSeconds: -1, successfulJobsHistoryLimit: -1, failedJobsHistoryLimit: -1 }),
  ],
  ["a job that is none", cron({ jobTemplate: { spec: { template: { spec: podSpec }, parallelism: -1 } } })],
  [
    "a job with a selector",
    cron({
      jobTemplate: { spec: { template: jobTemplate, manualSelector: true, selector: { matchLabels: { a: "b" } } } },
    }),
  ],
  ["a name that is too long", { metadata: { name: "a".repeat(53) }, ...cron({}) }],
  ["a name with a dot", { metadata: { name: "a.b" }, ...cron({}) }],
]);

const budgets = casesOf("policy/v1/poddisruptionbudgets", [
  [
    "plain",
    { spec: { minAvailable: 1, selector } },
    { spec: { minAvailable: "50%" } },
    { spec: { minAvailable: null, maxUnavailable: 1 } },
    { spec: { minAvailable: 1 } },
    { spec: { selector: { matchLabels: { a: "c" } } } },
    status({ disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1, expectedPods: 2 }),
    status({ disruptionsAllowed: -1, currentHealthy: -1, desiredHealthy: -1, expectedPods: -1 }),
    status({ conditions: [{ type: "a b", status: "X" }] }),
  ],
  ["without anything", {}],
  ["both numbers", { spec: { minAvailable: 1, maxUnavailable: "x%", selector } }],
  ["numbers that are none", { spec: { minAvailable: -1, selector } }],
  ["parts that are none", { spec: { maxUnavailable: "101%", selector } }],
  ["a text that is none", { spec: { minAvailable: "x", selector } }],
  ["a selector that is none", { spec: { minAvailable: 1, selector: { matchLabels: { "a b": "c" } } } }],
  ["a policy that is none", { spec: { minAvailable: 1, unhealthyPodEvictionPolicy: "Foo" } }],
]);

const scalers = casesOf("autoscaling/v2/horizontalpodautoscalers", [
  [
    "plain",
    scaler({}),
    { spec: { maxReplicas: 5, minReplicas: 2 } },
    { spec: { maxReplicas: 1 } },
    { spec: { metrics: [] } },
    status({ currentReplicas: -1, desiredReplicas: -1 }),
    status({ currentReplicas: 1, desiredReplicas: 1 }),
  ],
  ["without anything", {}],
  ["numbers that are none", scaler({ minReplicas: 0, maxReplicas: 0 })],
  ["numbers that cross", scaler({ minReplicas: 5 })],
  ["a target that is none", scaler({ scaleTargetRef: { kind: "", name: "" } })],
  ["a target with odd names", scaler({ scaleTargetRef: { kind: "A/b", name: "a/b", apiVersion: "a/b/c" } })],
  [
    "metrics",
    scaler({
      metrics: [
        { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } },
      ],
    }),
  ],
  [
    "metrics that are none",
    scaler({
      metrics: [
        { type: "Foo" },
        { type: "Resource" },
        { type: "Resource", resource: { name: "", target: { type: "Foo" } } },
        { type: "Pods", pods: { metric: { name: "" }, target: { type: "Utilization", averageUtilization: 0 } } },
      ],
    }),
  ],
  [
    "behaviour",
    scaler({
      behavior: {
        scaleDown: { policies: [{ type: "Pods", value: 1, periodSeconds: 60 }], stabilizationWindowSeconds: 10 },
      },
    }),
  ],
  [
    "behaviour that is none",
    scaler({
      behavior: {
        scaleUp: {
          policies: [{ type: "Foo", value: 0, periodSeconds: 0 }],
          selectPolicy: "Foo",
          stabilizationWindowSeconds: -1,
        },
        scaleDown: { policies: [], stabilizationWindowSeconds: 99999 },
      },
    }),
  ],
]);

const oldScalers = casesOf("autoscaling/v1/horizontalpodautoscalers", [
  ["plain", scaler({}), { spec: { targetCPUUtilizationPercentage: 50 } }],
  ["numbers that are none", scaler({ targetCPUUtilizationPercentage: 0, minReplicas: 0 })],
]);

export const cases: readonly Case[] = [
  ...deployments,
  ...statefulSets,
  ...daemonSets,
  ...replicaSets,
  ...controllers,
  ...revisions,
  ...templates,
  ...jobs,
  ...cronJobs,
  ...budgets,
  ...scalers,
  ...oldScalers,
];
