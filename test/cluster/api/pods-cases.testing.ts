// Pods: what is filled in, what is refused of every part of a specification, what may change, and what is reported.

import { casesOf, of, status, type Case, type Row } from "./case.testing.ts";

const container = { name: "c", image: "busybox" };
const pod = (spec: object): object => ({ spec: { containers: [container], ...spec } });
const one = (fields: object): object => pod({ containers: [{ ...container, ...fields }] });
const probe = (fields: object): object => one({ readinessProbe: fields });
const env = (...variables: object[]): object => one({ env: variables });

const containers: readonly Row[] = [
  ["plain", pod({})],
  ["without anything", {}],
  ["without containers", { spec: {} }],
  [
    "containers without names and images",
    pod({ containers: [{}, { name: "A_b", image: " x " }, { name: "c" }, { name: "c", image: "y" }] }),
  ],
  ["a pull policy that is none", one({ imagePullPolicy: "Foo" })],
  [
    "images and their pull policies",
    pod({
      containers: [
        { name: "a", image: "x:1" },
        { name: "b", image: "x:latest" },
        { name: "d", image: "r:5000/x" },
        { name: "e", image: "x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
      ],
    }),
  ],
  ["a termination message policy that is none", one({ terminationMessagePolicy: "Foo" })],
  [
    "ports",
    one({
      ports: [
        { containerPort: 0 },
        { containerPort: 70000 },
        { containerPort: 80, protocol: "FOO", name: "TOOLONGNAMEXXXXXXXXX" },
        { containerPort: 81, hostPort: -1 },
        { containerPort: 82, hostIP: "x" },
        { containerPort: 83, name: "a" },
        { containerPort: 84, name: "a" },
        { containerPort: 85, hostIP: "10.0.0.1" },
      ],
    }),
  ],
  [
    "host ports",
    pod({
      containers: [
        {
          ...container,
          ports: [
            { containerPort: 1, hostPort: 80 },
            { containerPort: 2, hostPort: 80 },
            { containerPort: 3, hostPort: 80, protocol: "UDP" },
          ],
        },
      ],
    }),
  ],
  [
    "host network",
    pod({
      hostNetwork: true,
      containers: [{ ...container, ports: [{ containerPort: 80 }, { containerPort: 81, hostPort: 82 }] }],
    }),
  ],
  [
    "ports that repeat",
    pod({
      containers: [
        { ...container, ports: [{ containerPort: 1 }, { containerPort: 1 }, { containerPort: 2, name: "a" }] },
        { name: "d", image: "x", ports: [{ containerPort: 2, name: "a", hostPort: 5 }] },
      ],
    }),
  ],
  ["variables", env({ name: "A", value: "1" }, { name: "A", value: "2" }, { name: "A", value: "$(A):3" })],
  ["variables without names", env({ value: "1" }, { name: "=x", value: "1" }, { name: "a\tb" })],
  [
    "variables from fields",
    env(
      { name: "A", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
      { name: "B", valueFrom: { fieldRef: { fieldPath: "metadata.nope" } } },
      { name: "C", valueFrom: { fieldRef: { fieldPath: "" } } },
      { name: "D", valueFrom: { fieldRef: { apiVersion: "v9", fieldPath: "metadata.name" } } },
      { name: "E", valueFrom: { fieldRef: { fieldPath: "metadata.labels['a b']" } } },
      { name: "F", valueFrom: { fieldRef: { fieldPath: "metadata.labels" } } },
      { name: "G", valueFrom: { fieldRef: { fieldPath: "status.podIPs" } } },
      { name: "H", valueFrom: { fieldRef: { fieldPath: "spec.nope['a']" } } },
      { name: "I", valueFrom: { fieldRef: { fieldPath: "metadata.annotations['A/b']" } } },
    ),
  ],
  [
    "variables from resources",
    env(
      { name: "A", valueFrom: { resourceFieldRef: { resource: "limits.cpu" } } },
      { name: "B", valueFrom: { resourceFieldRef: { resource: "x" } } },
      { name: "C", valueFrom: { resourceFieldRef: { resource: "" } } },
      { name: "D", valueFrom: { resourceFieldRef: { resource: "limits.cpu", divisor: "3" } } },
      {
        name: "E",
        valueFrom: { resourceFieldRef: { resource: "requests.memory", divisor: "1Mi", containerName: "nope" } },
      },
    ),
  ],
  [
    "variables from nothing",
    env(
      { name: "A", valueFrom: {} },
      { name: "B", value: "x", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
      { name: "C", valueFrom: { configMapKeyRef: {} } },
      { name: "D", valueFrom: { secretKeyRef: { name: "A_b", key: "a/b" } } },
      { name: "E", valueFrom: { configMapKeyRef: { name: "a", key: "b" }, secretKeyRef: { name: "a", key: "b" } } },
    ),
  ],
  [
    "variables from all of a map",
    one({
      envFrom: [
        {},
        { configMapRef: { name: "a" }, secretRef: { name: "b" } },
        { configMapRef: {} },
        { prefix: "a=b", secretRef: { name: "A_b" } },
      ],
    }),
  ],
  ["resources", one({ resources: { limits: { cpu: "1", memory: "1Gi" }, requests: { cpu: "500m" } } })],
  [
    "resources that ask for too much",
    one({ resources: { limits: { cpu: "1" }, requests: { cpu: "2", memory: "-1" } } }),
  ],
  [
    "resources of odd names",
    one({
      resources: {
        limits: {
          foo: "1",
          "a b": "1",
          "example.com/x": "1",
          "example.com/y": "500m",
          "requests.x.y/z": "1",
          "hugepages-2Mi": "1Gi",
        },
        requests: { "example.com/x": "2", "example.com/z": "1" },
      },
    }),
  ],
  ["resources of fractions", one({ resources: { limits: { memory: "100m", "ephemeral-storage": "1500m" } } })],
  ["resources of claims", one({ resources: { claims: [{ name: "x" }, { name: "x" }, { name: "" }] } })],
  [
    "security",
    one({
      securityContext: {
        runAsUser: -1,
        runAsGroup: -1,
        privileged: true,
        allowPrivilegeEscalation: false,
        procMount: "Foo",
        capabilities: { add: ["X"] },
        seccompProfile: { type: "Foo" },
        appArmorProfile: { type: "Localhost" },
      },
    }),
  ],
  [
    "security of profiles",
    one({
      securityContext: {
        seccompProfile: { type: "Localhost" },
        appArmorProfile: { type: "RuntimeDefault", localhostProfile: "x" },
      },
    }),
  ],
  [
    "security and escalation",
    one({ securityContext: { capabilities: { add: ["CAP_SYS_ADMIN"] }, allowPrivilegeEscalation: false } }),
  ],
  [
    "security of Windows",
    one({ securityContext: { windowsOptions: { gmsaCredentialSpecName: "A_b", runAsUserName: "" } } }),
  ],
  ["hooks", one({ lifecycle: { postStart: {}, preStop: { exec: {}, httpGet: { port: 80 } } } })],
  [
    "hooks that sleep",
    one({ lifecycle: { preStop: { sleep: { seconds: -1 } }, postStart: { sleep: { seconds: 99999 } } } }),
  ],
  ["hooks that stop", one({ lifecycle: { stopSignal: "SIGTERM" } })],
  [
    "hooks that ask",
    one({
      lifecycle: {
        preStop: { httpGet: { port: "x_y", path: "", scheme: "Foo", httpHeaders: [{ name: "a b", value: "" }] } },
        postStart: { tcpSocket: { port: 0 } },
      },
    }),
  ],
  ["a container that restarts by itself", one({ restartPolicy: "Always" })],
  ["a container that never restarts", one({ restartPolicy: "Never" })],
  [
    "rules of restarts",
    one({
      restartPolicy: "Never",
      restartPolicyRules: [
        { action: "Restart", exitCodes: { operator: "In", values: [1] } },
        { action: "Foo" },
        { action: "Restart", exitCodes: { operator: "X", values: [] } },
      ],
    }),
  ],
  [
    "containers before others",
    pod({
      initContainers: [
        { name: "i", image: "x" },
        { name: "c", image: "x" },
        { name: "j", image: "x", restartPolicy: "Always", readinessProbe: { tcpSocket: { port: 1 } } },
        {
          name: "k",
          image: "x",
          lifecycle: {},
          livenessProbe: { tcpSocket: { port: 1 } },
          readinessProbe: {},
          startupProbe: {},
        },
        { name: "l", image: "x", restartPolicy: "Foo" },
      ],
    }),
  ],
  ["containers that come later", pod({ ephemeralContainers: [{ name: "e", image: "x" }] })],
  ["a terminal", one({ stdin: true, stdinOnce: true, tty: true, workingDir: "/x", command: ["a"], args: ["b"] })],
  [
    "a resize policy",
    one({
      resizePolicy: [
        { resourceName: "cpu", restartPolicy: "NotRequired" },
        { resourceName: "cpu", restartPolicy: "Foo" },
        { resourceName: "disk", restartPolicy: "RestartContainer" },
      ],
    }),
  ],
];

const probes: readonly Row[] = [
  [
    "probes",
    one({
      readinessProbe: { httpGet: { port: 80 } },
      livenessProbe: { tcpSocket: { port: "x" } },
      startupProbe: { exec: { command: ["x"] } },
    }),
  ],
  ["a probe of nothing", probe({})],
  ["a probe of two things", probe({ exec: { command: ["x"] }, tcpSocket: { port: 1 } })],
  ["a probe of a command that is none", probe({ exec: {} })],
  ["a probe that calls", probe({ grpc: { port: 80 } })],
  ["a probe that calls nobody", probe({ grpc: { port: 0 } })],
  [
    "a probe of ports that are none",
    one({ readinessProbe: { httpGet: { port: "A_b" } }, livenessProbe: { tcpSocket: { port: 99999 } } }),
  ],
  [
    "a probe with odd times",
    probe({
      tcpSocket: { port: 1 },
      initialDelaySeconds: -1,
      timeoutSeconds: -1,
      periodSeconds: -1,
      successThreshold: -1,
      failureThreshold: -1,
    }),
  ],
  ["a probe with a grace period", probe({ tcpSocket: { port: 1 }, terminationGracePeriodSeconds: 5 })],
  [
    "a probe without a grace period",
    one({ livenessProbe: { tcpSocket: { port: 1 }, terminationGracePeriodSeconds: 0, successThreshold: 2 } }),
  ],
  ["a startup probe that succeeds twice", one({ startupProbe: { tcpSocket: { port: 1 }, successThreshold: 2 } })],
  [
    "a probe of an odd scheme",
    probe({ httpGet: { port: 80, scheme: "FTP", httpHeaders: [{ name: "", value: "x" }] } }),
  ],
];

const whole: readonly Row[] = [
  [
    "names",
    pod({ hostname: "A_b", subdomain: "a.b", nodeName: "A_b", serviceAccountName: "A_b", priorityClassName: "A_b" }),
  ],
  ["a long host name", pod({ hostname: "a".repeat(64), setHostnameAsFQDN: true })],
  ["a name with a dot", { metadata: { name: "a.b" }, ...pod({}) }],
  ["a host name instead", pod({ hostnameOverride: "a.b", hostNetwork: true, setHostnameAsFQDN: true })],
  [
    "aliases",
    pod({
      hostAliases: [
        { ip: "x", hostnames: ["A_b"] },
        { ip: "1.2.3.4" },
        { ip: "1.2.3.4", hostnames: ["a"] },
        { ip: "" },
      ],
    }),
  ],
  ["names without configuration", pod({ dnsPolicy: "None" })],
  ["names with an empty configuration", pod({ dnsPolicy: "None", dnsConfig: {} })],
  [
    "name servers",
    pod({
      dnsConfig: {
        nameservers: ["x", "1.1.1.1", "2.2.2.2", "3.3.3.3"],
        searches: ["A_b", "a.b.", "_x.y", "."],
        options: [{ name: "" }, { name: "ndots", value: "2" }],
      },
    }),
  ],
  ["too many searches", pod({ dnsConfig: { searches: Array.from({ length: 33 }, (_, index) => `a${index}.b`) } })],
  ["the host's", pod({ hostPID: true, hostIPC: true, hostUsers: false })],
  ["processes shared", pod({ hostPID: true, shareProcessNamespace: true })],
  ["users of its own and the host's network", pod({ hostUsers: false, hostNetwork: true })],
  [
    "security",
    pod({
      securityContext: {
        runAsUser: -1,
        runAsGroup: -1,
        fsGroup: -1,
        supplementalGroups: [-1],
        fsGroupChangePolicy: "Foo",
        supplementalGroupsPolicy: "Foo",
        seccompProfile: { type: "Localhost" },
        sysctls: [
          { name: "a b", value: "x" },
          { name: "a.b", value: "x" },
          { name: "a.b", value: "y" },
          { name: "", value: "" },
        ],
      },
    }),
  ],
  [
    "system calls' controls of the host",
    pod({
      hostNetwork: true,
      hostIPC: true,
      securityContext: {
        sysctls: [
          { name: "net.ipv4.ip_forward", value: "1" },
          { name: "kernel.shm_rmid_forced", value: "1" },
        ],
      },
    }),
  ],
  ["an operating system", pod({ os: { name: "linux" } })],
  ["an operating system that is none", pod({ os: { name: "foo" } })],
  [
    "another operating system",
    pod({
      os: { name: "windows" },
      hostPID: true,
      securityContext: { runAsUser: 1, seccompProfile: { type: "RuntimeDefault" } },
      shareProcessNamespace: true,
    }),
  ],
  [
    "Linux with the options of another",
    pod({ os: { name: "linux" }, securityContext: { windowsOptions: { runAsUserName: "x" } } }),
  ],
  ["a grace period below zero", pod({ terminationGracePeriodSeconds: -1 })],
  ["times", pod({ activeDeadlineSeconds: 0, terminationGracePeriodSeconds: -1 })],
  ["a deadline out of range", pod({ activeDeadlineSeconds: 2 ** 40 })],
  ["secrets of images", pod({ imagePullSecrets: [{ name: "a" }, { name: "a" }, {}] })],
  ["resources of all", pod({ resources: { limits: { cpu: "1" }, requests: { cpu: "2", "example.com/x": "1" } } })],
  [
    "resources of all and of one",
    pod({
      containers: [{ ...container, resources: { requests: { cpu: "2" } } }],
      resources: { limits: { cpu: "1", memory: "1Gi" } },
    }),
  ],
  [
    "claims",
    pod({
      resourceClaims: [
        { name: "x" },
        { name: "x", resourceClaimName: "a", resourceClaimTemplateName: "b" },
        { name: "A_b", resourceClaimName: "A_b" },
      ],
    }),
  ],
  ["an account", pod({ serviceAccountName: "nope" })],
  ["an old account", pod({ serviceAccount: "default", automountServiceAccountToken: false })],
  [
    "old annotations",
    {
      metadata: {
        annotations: {
          "scheduler.alpha.kubernetes.io/critical-pod": "",
          "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
          "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
        },
      },
      ...pod({}),
    },
  ],
  [
    "annotations of AppArmor",
    {
      metadata: {
        annotations: {
          "container.apparmor.security.beta.kubernetes.io/c": "foo",
          "container.apparmor.security.beta.kubernetes.io/nope": "unconfined",
        },
      },
      ...pod({}),
    },
  ],
  [
    "a cost of deletion",
    { metadata: { annotations: { "controller.kubernetes.io/pod-deletion-cost": "x" } }, ...pod({}) },
  ],
];

const changes: readonly Row[] = [
  [
    "another image",
    pod({}),
    { spec: { containers: [{ name: "c", image: "two" }] } },
    { spec: { containers: [{ name: "c", image: "" }] } },
    { spec: { containers: [{ name: "c", image: " x" }] } },
  ],
  [
    "another container",
    pod({}),
    { spec: { containers: [{ name: "d", image: "two" }] } },
    { spec: { containers: [] } },
    { spec: { containers: [container, { name: "d", image: "x" }] } },
  ],
  ["another command", pod({}), { spec: { containers: [{ ...container, command: ["x"] }] } }],
  [
    "other resources",
    one({ resources: { requests: { cpu: "1" } } }),
    { spec: { containers: [{ ...container, resources: { requests: { cpu: "2" } } }] } },
  ],
  ["another node", pod({}), { spec: { nodeName: "x" } }],
  [
    "another deadline",
    pod({}),
    { spec: { activeDeadlineSeconds: 50 } },
    { spec: { activeDeadlineSeconds: 60 } },
    { spec: { activeDeadlineSeconds: 40 } },
    { spec: { activeDeadlineSeconds: null } },
    { spec: { activeDeadlineSeconds: -5 } },
  ],
  [
    "other tolerations",
    pod({ tolerations: [{ key: "a", operator: "Exists" }] }),
    { spec: { tolerations: [{ key: "b", operator: "Exists" }] } },
  ],
  [
    "more tolerations",
    pod({}),
    {
      spec: {
        tolerations: [
          { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
          { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
          { key: "x", operator: "Exists" },
        ],
      },
    },
    { spec: { tolerations: [] } },
  ],
  [
    "other names",
    pod({}),
    { spec: { hostname: "x" } },
    { spec: { restartPolicy: "Never" } },
    { spec: { serviceAccountName: "x" } },
    { spec: { priority: 5 } },
    { spec: { terminationGracePeriodSeconds: 5 } },
  ],
  [
    "other labels",
    pod({}),
    { metadata: { labels: { a: "b" } } },
    { metadata: { labels: { "a b": "c" } } },
    { metadata: { annotations: { "container.apparmor.security.beta.kubernetes.io/c": "unconfined" } } },
  ],
  ["a status in the object", pod({}), { status: { phase: "Running" } }],
  [
    "a status",
    pod({}),
    status({
      phase: "Running",
      podIP: "10.0.0.1",
      podIPs: [{ ip: "10.0.0.1" }],
      hostIP: "192.0.2.1",
      hostIPs: [{ ip: "192.0.2.1" }],
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [
        {
          name: "c",
          image: "x",
          imageID: "",
          ready: true,
          restartCount: 0,
          state: { running: { startedAt: "2026-01-01T00:00:00Z" } },
        },
      ],
    }),
  ],
  [
    "a status that is none",
    pod({}),
    status({ phase: "Foo", podIPs: [{ ip: "x" }], hostIPs: [{ ip: "y" }] }),
    status({ podIPs: [{ ip: "10.0.0.1" }, { ip: "10.0.0.2" }] }),
    status({ conditions: [{ type: "a b", status: "Foo" }] }),
    status({ nominatedNodeName: "A_b" }),
    status({ podIPs: [{ ip: "10.0.0.1" }, { ip: "fd00::1" }, { ip: "fd00::2" }] }),
  ],
  [
    "containers that come to it",
    pod({}),
    of("ephemeralcontainers", { spec: { ephemeralContainers: [{ name: "e", image: "x" }] } }),
    of("ephemeralcontainers", { spec: { ephemeralContainers: [{ name: "e", image: "y" }] } }),
    of("ephemeralcontainers", { spec: { ephemeralContainers: [] } }),
    of("ephemeralcontainers", {
      spec: {
        ephemeralContainers: [
          { name: "e", image: "x" },
          { name: "c", image: "x" },
          {
            name: "f",
            image: "x",
            ports: [{ containerPort: 1 }],
            livenessProbe: { tcpSocket: { port: 1 } },
            resources: { limits: { cpu: "1" } },
            lifecycle: { preStop: { exec: { command: ["x"] } } },
          },
          { name: "g", image: "x", targetContainerName: "nope" },
        ],
      },
    }),
  ],
  [
    "a resize",
    one({ resources: { requests: { cpu: "1" } } }),
    of("resize", { spec: { containers: [{ ...container, resources: { requests: { cpu: "2" } } }] } }),
    of("resize", { spec: { containers: [{ ...container, resources: { requests: { cpu: "-2" } } }] } }),
    of("resize", {
      spec: { containers: [{ ...container, resources: { limits: { cpu: "1" }, requests: { cpu: "1" } } }] },
    }),
  ],
  [
    "finalizers and owners",
    pod({}),
    {
      metadata: {
        finalizers: ["a.b/c"],
        ownerReferences: [
          { apiVersion: "v1", kind: "Pod", name: "x", uid: "11111111-1111-1111-1111-111111111111", controller: true },
        ],
      },
    },
  ],
];

export const cases: readonly Case[] = casesOf("v1/pods", [...containers, ...probes, ...whole, ...changes]);
