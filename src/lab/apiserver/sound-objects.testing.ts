// A sound object of many kinds, with the fields people write: what tests change at random. Not here: what they change (hostile.test.ts).

import { customDefinition } from "../api/custom-definition.testing.ts";

const template = {
  metadata: { labels: { app: "a" }, annotations: { note: "x" } },
  spec: {
    containers: [
      {
        name: "c",
        image: "nginx",
        command: ["sh", "-c", "true"],
        ports: [{ name: "http", containerPort: 80, protocol: "TCP" }],
        env: [
          { name: "A", value: "b" },
          { name: "B", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
        ],
        resources: { requests: { cpu: "100m", memory: "1Gi" }, limits: { cpu: 1 } },
        readinessProbe: { httpGet: { path: "/", port: "http" }, periodSeconds: 5 },
        volumeMounts: [{ name: "v", mountPath: "/v" }],
        securityContext: { capabilities: { add: ["NET_ADMIN"] }, runAsUser: 0 },
      },
    ],
    volumes: [{ name: "v", configMap: { name: "a", items: [{ key: "k", path: "p" }] } }],
    tolerations: [{ key: "k", operator: "Exists" }],
    affinity: {
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels: { app: "a" } } },
        ],
      },
    },
  },
};

/** A sound object of each kind, created before anything else: random requests change it. */
export const soundObjects: readonly {
  readonly path: string;
  readonly object: { readonly [field: string]: unknown };
}[] = [
  { path: "/api/v1/namespaces/default/pods", object: { apiVersion: "v1", kind: "Pod", ...template } },
  {
    path: "/api/v1/namespaces/default/services",
    object: {
      apiVersion: "v1",
      kind: "Service",
      spec: { selector: { app: "a" }, ports: [{ name: "http", port: 80, targetPort: "http", protocol: "TCP" }] },
    },
  },
  {
    path: "/api/v1/namespaces/default/configmaps",
    object: { apiVersion: "v1", kind: "ConfigMap", data: { k: "v" }, binaryData: { b: "AA==" } },
  },
  {
    path: "/api/v1/namespaces/default/secrets",
    object: { apiVersion: "v1", kind: "Secret", type: "Opaque", data: { k: "dg==" }, stringData: { s: "t" } },
  },
  {
    path: "/api/v1/nodes",
    object: {
      apiVersion: "v1",
      kind: "Node",
      spec: { taints: [{ key: "k", value: "v", effect: "NoSchedule" }], podCIDRs: ["10.244.0.0/24"] },
      status: {
        addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
        capacity: { cpu: "2" },
        conditions: [{ type: "Ready", status: "True", lastHeartbeatTime: "2026-01-01T00:00:00Z" }],
      },
    },
  },
  {
    path: "/apis/apps/v1/namespaces/default/deployments",
    object: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      spec: {
        replicas: 2,
        selector: { matchLabels: { app: "a" }, matchExpressions: [{ key: "app", operator: "In", values: ["a"] }] },
        strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "50%", maxUnavailable: 0 } },
        template,
      },
    },
  },
  {
    path: "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    object: {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      spec: {
        podSelector: { matchLabels: { app: "a" } },
        policyTypes: ["Ingress", "Egress"],
        ingress: [
          { from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }], ports: [{ port: 80, endPort: 90 }] },
        ],
        egress: [{ to: [{ namespaceSelector: {}, podSelector: {} }] }],
      },
    },
  },
  {
    path: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    object: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: true }, hints: { forZones: [{ name: "z" }] } }],
      ports: [{ name: "http", port: 80 }],
    },
  },
  {
    path: "/apis/batch/v1/namespaces/default/cronjobs",
    object: {
      apiVersion: "batch/v1",
      kind: "CronJob",
      spec: {
        schedule: "*/5 * * * *",
        jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: "Never" } } } },
      },
    },
  },
  {
    path: "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    object: {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"], resourceNames: ["a"] }],
      aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: "b" } }] },
    },
  },
  {
    path: "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes",
    object: {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "HTTPRoute",
      spec: {
        parentRefs: [{ name: "g" }],
        hostnames: ["a.example"],
        rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }], backendRefs: [{ name: "a", port: 80 }] }],
      },
    },
  },
  {
    path: "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    object: {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingAdmissionPolicy",
      spec: {
        matchConstraints: {
          resourceRules: [
            { apiGroups: ["no.example"], apiVersions: ["v1"], resources: ["none"], operations: ["CREATE"] },
          ],
        },
        validations: [{ expression: "object.metadata.name != 'x'", message: "no" }],
        variables: [{ name: "n", expression: "1 + 1" }],
      },
    },
  },
  {
    path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    object: customDefinition("Thing", {
      subresources: { status: {}, scale: { specReplicasPath: ".spec.n", statusReplicasPath: ".status.n" } },
      additionalPrinterColumns: [{ name: "N", type: "integer", jsonPath: ".spec.n" }],
      schema: {
        openAPIV3Schema: {
          type: "object",
          properties: {
            spec: {
              type: "object",
              "x-kubernetes-validations": [{ rule: "!has(self.n) || self.n < 100", message: "small" }],
              properties: {
                n: { type: "integer", default: 1 },
                list: {
                  type: "array",
                  maxItems: 10,
                  "x-kubernetes-list-type": "map",
                  "x-kubernetes-list-map-keys": ["k"],
                  items: { type: "object", required: ["k"], properties: { k: { type: "string", maxLength: 9 } } },
                },
                either: { "x-kubernetes-int-or-string": true },
                any: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
              },
            },
            status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
          },
        },
      },
    }),
  },
  {
    path: "/apis/example.com/v1/namespaces/default/things",
    object: {
      apiVersion: "example.com/v1",
      kind: "Thing",
      spec: { n: 3, list: [{ k: "a" }], either: "x", any: { z: 1 } },
    },
  },
].map(({ path, object }) => ({ path, object: { ...object, metadata: { name: "a", ...metadataOf(object) } } }));

function metadataOf(object: object): object {
  return "metadata" in object && typeof object.metadata === "object" ? (object.metadata ?? {}) : {};
}
