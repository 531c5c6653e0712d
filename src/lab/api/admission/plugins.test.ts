import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startTestServer, type Answered, type TestServer } from "../../apiserver/server.testing.ts";
import { admissionPlugins } from "./plugins.ts";

let server: TestServer;
before(async () => {
  server = await startTestServer({ plugins: admissionPlugins() });
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

async function namespace(name: string, labels: object = {}): Promise<Answered> {
  return server.send("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
}

async function inside(place: string, kind: string, resource: string, name: string, spec: object): Promise<Answered> {
  const body = { apiVersion: "v1", kind, metadata: { name }, spec };
  return server.send("POST", `/api/v1/namespaces/${place}/${resource}`, body);
}

interface Resources {
  readonly requests?: object;
  readonly limits?: object;
}

function pod(
  place: string,
  name: string,
  ...containers: readonly (Resources & { readonly more?: object })[]
): Promise<Answered> {
  return inside(place, "Pod", "pods", name, {
    containers: containers.map(({ more, ...resources }, index) => ({
      name: "cde"[index],
      image: "x",
      resources,
      ...more,
    })),
  });
}

function refused({ status, body }: Answered, message: string): void {
  assert.equal(status, 403, JSON.stringify(body));
  assert.equal(body.message, message);
}

test("LimitRange: defaults, and what is too much or too little", async () => {
  await namespace("limits");
  const limits = [
    {
      type: "Container",
      default: { cpu: "500m" },
      defaultRequest: { cpu: "100m", memory: "64Mi" },
      max: { cpu: "1" },
      min: { memory: "32Mi" },
      maxLimitRequestRatio: { cpu: "10" },
    },
    { type: "Pod", max: { cpu: "2" } },
    { type: "PersistentVolumeClaim", max: { storage: "2Gi" }, min: { storage: "1Gi" } },
  ];
  assert.equal((await inside("limits", "LimitRange", "limitranges", "l", { limits })).status, 201);
  const { status, body } = await pod("limits", "a", {});
  assert.equal(status, 201);
  assert.deepEqual(body.spec.containers[0].resources, {
    limits: { cpu: "500m" },
    requests: { cpu: "100m", memory: "64Mi" },
  });
  assert.equal(
    body.metadata.annotations["kubernetes.io/limit-ranger"],
    "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c",
  );
  assert.equal(body.status.qosClass, "Burstable");
  refused(
    await pod("limits", "b", { limits: { cpu: "2" }, requests: { memory: "16Mi" } }),
    'pods "b" is forbidden: [minimum memory usage per Container is 32Mi, but request is 16Mi, maximum cpu usage per Container is 1, but limit is 2]',
  );
  refused(
    await pod(
      "limits",
      "b",
      { limits: { cpu: "1" } },
      { limits: { cpu: "1" } },
      { limits: { cpu: "900m" }, requests: { cpu: "50m" } },
    ),
    'pods "b" is forbidden: [cpu max limit to request ratio per Container is 10, but provided ratio is 18.000000, maximum cpu usage per Pod is 2, but limit is 2900m]',
  );
  refused(
    await inside("limits", "PersistentVolumeClaim", "persistentvolumeclaims", "p", {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "3Gi" } },
    }),
    'persistentvolumeclaims "p" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi',
  );
});

test("ResourceQuota: what must be said, what there is room for, and in which scope", async () => {
  await namespace("quota");
  const hard = { pods: "2", "requests.cpu": "1", "limits.memory": "1Gi", configmaps: "1", "services.nodeports": "1" };
  await inside("quota", "ResourceQuota", "resourcequotas", "q", { hard });
  await inside("quota", "ResourceQuota", "resourcequotas", "none", { hard: { pods: "0" }, scopes: ["BestEffort"] });
  const some = { requests: { cpu: "600m" }, limits: { memory: "512Mi" } };
  refused(
    await pod("quota", "a", {}, { requests: { cpu: "1" } }),
    'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c,d; requests.cpu for: c',
  );
  assert.equal((await pod("quota", "a", some)).status, 201);
  refused(
    await pod("quota", "b", { requests: { cpu: "600m" }, limits: { memory: "612Mi" } }),
    'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=612Mi,requests.cpu=600m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1',
  );
  const little = { requests: { cpu: "100m" }, limits: { memory: "100Mi" } };
  assert.equal((await pod("quota", "b", little)).status, 201);
  refused(
    await pod("quota", "c", little),
    'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2',
  );
  assert.equal((await server.send("DELETE", "/api/v1/namespaces/quota/pods/b?gracePeriodSeconds=0")).status, 200);
  assert.equal((await pod("quota", "c", little)).status, 201);
  const service = (name: string): Promise<Answered> =>
    inside("quota", "Service", "services", name, { type: "NodePort", ports: [{ port: 80 }] });
  assert.equal((await service("s")).status, 201);
  refused(
    await service("t"),
    'services "t" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1',
  );
});

test("ResourceQuota: devices of a class, and volumes by their attributes", async () => {
  await namespace("quota-classes");
  const quota = (name: string, spec: object): Promise<Answered> =>
    inside("quota-classes", "ResourceQuota", "resourcequotas", name, spec);
  await quota("devices", { hard: { "gold.deviceclass.resource.k8s.io/devices": "9" } });
  const gold = { hard: { "requests.storage": "3Gi" } };
  const expression = { scopeName: "VolumeAttributesClass", operator: "In", values: ["gold"] };
  const scoped = await quota("volumes", { ...gold, scopeSelector: { matchExpressions: [expression] } });
  assert.equal(scoped.status, 201, scoped.text);
  const devices = (name: string, ...requests: readonly object[]): Promise<Answered> =>
    server.send("POST", "/apis/resource.k8s.io/v1/namespaces/quota-classes/resourceclaims", {
      apiVersion: "resource.k8s.io/v1",
      kind: "ResourceClaim",
      metadata: { name },
      spec: { devices: { requests: requests.map((request, index) => ({ name: `r${index}`, ...request })) } },
    });
  const first = [
    { name: "a", deviceClassName: "gold", count: 2 },
    { name: "b", deviceClassName: "gold", count: 5 },
  ];
  const claimed = await devices("a", { exactly: { deviceClassName: "gold" } }, { firstAvailable: first });
  assert.equal(claimed.status, 201, claimed.text);
  refused(
    await devices("b", { exactly: { deviceClassName: "gold", allocationMode: "All" } }),
    'resourceclaims.resource.k8s.io "b" is forbidden: exceeded quota: devices, requested: gold.deviceclass.resource.k8s.io/devices=32, used: gold.deviceclass.resource.k8s.io/devices=6, limited: gold.deviceclass.resource.k8s.io/devices=9',
  );
  assert.equal((await devices("b", { exactly: { deviceClassName: "tin", count: 10 } })).status, 201);
  const volume = (name: string, volumeAttributesClassName: string): Promise<Answered> =>
    inside("quota-classes", "PersistentVolumeClaim", "persistentvolumeclaims", name, {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "2Gi" } },
      volumeAttributesClassName,
    });
  assert.equal((await volume("a", "gold")).status, 201);
  assert.equal((await volume("b", "silver")).status, 201);
  refused(
    await volume("c", "gold"),
    'persistentvolumeclaims "c" is forbidden: exceeded quota: volumes, requested: requests.storage=2Gi, used: requests.storage=2Gi, limited: requests.storage=3Gi',
  );
});

test("PriorityClass: the pod's, the default, and none of that name", async () => {
  const classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
  const made = (name: string): Promise<Answered> =>
    server.send("POST", classes, {
      apiVersion: "scheduling.k8s.io/v1",
      kind: "PriorityClass",
      metadata: { name },
      value: 1000,
      globalDefault: true,
    });
  const first = await pod("other", "first", {});
  assert.equal(first.body.spec.priority, 0);
  assert.equal((await made("high")).status, 201);
  refused(
    await made("higher"),
    'priorityclasses.scheduling.k8s.io "higher" is forbidden: PriorityClass high is already marked as default. Only one default can exist',
  );
  const second = await pod("other", "second", {});
  assert.deepEqual([second.body.spec.priority, second.body.spec.priorityClassName], [1000, "high"]);
  const named = (priority: object): Promise<Answered> =>
    inside("other", "Pod", "pods", "named", { containers: [{ name: "c", image: "x" }], ...priority });
  refused(
    await named({ priorityClassName: "nope" }),
    'pods "named" is forbidden: no PriorityClass with name nope was found',
  );
  refused(
    await named({ priority: 5 }),
    'pods "named" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name',
  );
  assert.equal((await named({ priorityClassName: "system-node-critical" })).body.spec.priority, 2_000_001_000);
  assert.equal((await server.send("DELETE", `${classes}/high`)).status, 200);
});

const level = "pod-security.kubernetes.io/enforce";

test("Pod Security: baseline and restricted, in upstream's words", async () => {
  await namespace("restricted", { [level]: "restricted" });
  await namespace("baseline", { [level]: "baseline", "pod-security.kubernetes.io/warn": "restricted" });
  refused(
    await pod("restricted", "a", {}),
    'pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
  );
  const good = await inside("restricted", "Pod", "pods", "good", {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    containers: [
      {
        name: "c",
        image: "x",
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"], add: ["NET_BIND_SERVICE"] },
        },
      },
    ],
  });
  assert.equal(good.status, 201, good.text);
  refused(
    await inside("baseline", "Pod", "pods", "b", {
      hostPID: true,
      volumes: [{ name: "h", hostPath: { path: "/" } }],
      securityContext: { sysctls: [{ name: "kernel.msgmax", value: "1" }], seLinuxOptions: { type: "x", user: "u" } },
      containers: [
        {
          name: "c",
          image: "x",
          livenessProbe: { httpGet: { host: "1.2.3.4", port: 80 } },
          ports: [{ containerPort: 80, hostPort: 80 }],
          securityContext: { privileged: true, capabilities: { add: ["SYS_ADMIN"] } },
        },
      ],
    }),
    'pods "b" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add), host namespaces (hostPID=true), hostPath volumes (volume "h"), hostPort (container "c" uses hostPort 80), probe or lifecycle host (container "c" uses probe or lifecycle host "1.2.3.4"), privileged (container "c" must not set securityContext.privileged=true), seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set), forbidden sysctls (kernel.msgmax)',
  );
  const warned = await pod("baseline", "plain", {});
  assert.equal(warned.status, 201);
  assert.match(
    warned.headers.get("warning") ?? "",
    /would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation/,
  );
});

test("Pod Security: labels that say nothing are refused, and a stricter level tells of the pods that are there", async () => {
  const { status, body } = await namespace("wrong", { [level]: "foo" });
  assert.equal(status, 422);
  assert.match(body.message, /enforce\]: Invalid value: "foo": must be one of privileged, baseline, restricted$/);
  const stricter = await server.send(
    "PATCH",
    "/api/v1/namespaces/baseline",
    { metadata: { labels: { [level]: "restricted" } } },
    { "Content-Type": "application/merge-patch+json" },
  );
  assert.equal(stricter.status, 200);
  assert.match(
    stricter.headers.get("warning") ?? "",
    /existing pods in namespace \\"baseline\\" violate the new PodSecurity enforce level \\"restricted:latest\\".*plain: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile/,
  );
});

test("a pod gets what its RuntimeClass costs and where it runs, and nobody else says so", async () => {
  const made = (name: string, more: object): Promise<Answered> =>
    server.send("POST", "/apis/node.k8s.io/v1/runtimeclasses", {
      apiVersion: "node.k8s.io/v1",
      kind: "RuntimeClass",
      metadata: { name },
      handler: "runc",
      ...more,
    });
  const scheduling = {
    nodeSelector: { disk: "fast" },
    tolerations: [
      { key: "gpu", operator: "Exists", effect: "NoSchedule" },
      { key: "own", operator: "Exists" },
    ],
  };
  assert.equal(
    (await made("boxed", { overhead: { podFixed: { cpu: "250m", memory: "64Mi" } }, scheduling })).status,
    201,
  );
  assert.equal((await made("plain", {})).status, 201);
  await namespace("runtime");
  const run = (name: string, more: object): Promise<Answered> =>
    inside("runtime", "Pod", "pods", name, { containers: [{ name: "c", image: "x" }], ...more });
  const own = { key: "own", operator: "Equal", value: "1", effect: "NoExecute" };
  const boxed = await run("boxed", { runtimeClassName: "boxed", nodeSelector: { zone: "a" }, tolerations: [own] });
  assert.equal(boxed.status, 201);
  assert.deepEqual(boxed.body.spec.overhead, { cpu: "250m", memory: "64Mi" });
  assert.deepEqual(boxed.body.spec.nodeSelector, { zone: "a", disk: "fast" });
  assert.deepEqual(
    boxed.body.spec.tolerations.filter(({ key }: { key: string }) => key === "gpu" || key === "own"),
    scheduling.tolerations,
    "what a class says more widely takes the place of the pod's own word",
  );
  assert.equal(
    (await run("same", { runtimeClassName: "boxed", overhead: { cpu: "0.25", memory: "65536Ki" } })).status,
    201,
  );
  const plain = await run("plain", { runtimeClassName: "plain" });
  assert.deepEqual([plain.status, plain.body.spec.overhead, plain.body.spec.nodeSelector], [201, undefined, undefined]);
  for (const [spec, why] of [
    [{ runtimeClassName: "none" }, 'pod rejected: RuntimeClass "none" not found'],
    [
      { runtimeClassName: "boxed", overhead: { cpu: "1" } },
      "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    ],
    [
      { runtimeClassName: "boxed", nodeSelector: { disk: "slow" } },
      "conflict: runtimeClass.scheduling.nodeSelector[disk] = fast; pod.spec.nodeSelector[disk] = slow",
    ],
    [
      { runtimeClassName: "plain", overhead: { cpu: "1" } },
      "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    ],
    [{ overhead: { cpu: "1" } }, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"],
  ] as const) {
    const { status, body } = await run("refused", spec);
    assert.deepEqual([status, body.message], [403, `pods "refused" is forbidden: ${why}`]);
  }
});

test("a RuntimeClass's overhead counts as asked for, and on top of limits where there are any", async () => {
  await server.send("POST", "/apis/node.k8s.io/v1/runtimeclasses", {
    apiVersion: "node.k8s.io/v1",
    kind: "RuntimeClass",
    metadata: { name: "costly" },
    handler: "runc",
    overhead: { podFixed: { cpu: "250m" } },
  });
  await namespace("overhead");
  const limits = [{ type: "Pod", min: { cpu: "500m" }, max: { cpu: "1" } }];
  await inside("overhead", "LimitRange", "limitranges", "l", { limits });
  const run = (name: string, requests: string, limit?: string): Promise<Answered> =>
    inside("overhead", "Pod", "pods", name, {
      runtimeClassName: "costly",
      containers: [
        { name: "c", image: "x", resources: { requests: { cpu: requests }, ...(limit && { limits: { cpu: limit } }) } },
      ],
    });
  assert.equal((await run("enough", "250m", "750m")).status, 201);
  refused(
    await run("little", "200m", "750m"),
    'pods "little" is forbidden: minimum cpu usage per Pod is 500m, but request is 450m',
  );
  refused(
    await run("much", "500m", "800m"),
    'pods "much" is forbidden: maximum cpu usage per Pod is 1, but limit is 1050m',
  );
  refused(
    await run("without", "500m"),
    'pods "without" is forbidden: maximum cpu usage per Pod is 1.  No limit is specified',
  );
});
