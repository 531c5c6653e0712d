import assert from "node:assert/strict";
import { test } from "node:test";

import { objectProblems } from "./check.ts";
import { withDefaults } from "./defaults.ts";
import type { KubeObject } from "./object.ts";
import { problemText } from "./problem.ts";
import { validateUpdate } from "./validate.ts";

const container = { name: "c", image: "nginx" };
const template = { metadata: { labels: { app: "web" } }, spec: { containers: [container] } };
const selector = { matchLabels: { app: "web" } };

function object(apiVersion: string, kind: string, rest: object, name = "a"): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace: "default" }, ...rest };
}
const pod = (spec: object): KubeObject => object("v1", "Pod", { spec });
const service = (spec: object): KubeObject => object("v1", "Service", { spec });
const deployment = (spec: object): KubeObject =>
  object("apps/v1", "Deployment", { spec: { selector, template, ...spec } });

function problems(of: KubeObject): string[] {
  return objectProblems(of).map(problemText);
}

const cases: readonly { what: string; of: KubeObject; says: readonly string[] }[] = [
  { what: "a pod", of: pod({ containers: [container] }), says: [] },
  { what: "a Deployment", of: deployment({}), says: [] },
  {
    what: "unknown fields, at any depth",
    of: pod({ containers: [{ ...container, prots: [] }], hostNetwrok: true }),
    says: ['unknown field "spec.containers[0].prots"', 'unknown field "spec.hostNetwrok"'],
  },
  {
    what: "wrong types",
    of: deployment({ replicas: "3", paused: 1 }),
    says: [
      'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
      'spec.paused: Invalid value: "number": spec.paused in body must be of type boolean: "number"',
    ],
  },
  { what: "no containers", of: pod({}), says: ["spec.containers: Required value"] },
  {
    what: "a kind nobody knows",
    of: object("v2", "Pod", {}),
    says: ['kind: no matches for kind "Pod" in version "v2"; it is kind Pod in version v1'],
  },
  {
    what: "container names, mounts, probes",
    of: pod({
      containers: [
        container,
        {
          ...container,
          volumeMounts: [{ name: "x", mountPath: "/x", subPath: "../y" }],
          livenessProbe: { successThreshold: 2 },
        },
      ],
    }),
    says: [
      'spec.containers[1].name: Duplicate value: "c"',
      "spec.containers[1].livenessProbe: Required value: must specify a handler type",
      "spec.containers[1].livenessProbe.successThreshold: Invalid value: 2: must be 1",
      'spec.containers[1].volumeMounts[0].name: Not found: "x"',
      "spec.containers[1].volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'",
    ],
  },
  {
    what: "values out of an enumeration",
    of: pod({ containers: [container], restartPolicy: "Sometimes", dnsPolicy: "None" }),
    says: [
      'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
      "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ],
  },
  {
    what: "environment",
    of: pod({ containers: [{ ...container, env: [{ name: "A=B" }, { name: "C", value: "x", valueFrom: {} }] }] }),
    says: [
      "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
      'spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
      'spec.containers[0].env[1].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`',
    ],
  },
  {
    what: "ports out of range",
    of: service({ ports: [{ port: 70_000, targetPort: 80 }] }),
    says: ["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
  },
  {
    what: "ports of one Service",
    of: service({
      ports: [
        { name: "a", port: 80 },
        { name: "a", port: 80, nodePort: 30_000 },
      ],
    }),
    says: [
      'spec.ports[1].name: Duplicate value: "a"',
      'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}',
      "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ],
  },
  {
    what: "one port on TCP and UDP",
    of: service({
      ports: [
        { name: "a", port: 53 },
        { name: "b", port: 53, protocol: "UDP" },
      ],
    }),
    says: [],
  },
  { what: "a Service without ports", of: service({}), says: ["spec.ports: Required value"] },
  { what: "a headless Service without ports", of: service({ clusterIP: "None" }), says: [] },
  {
    what: "an ExternalName without a name",
    of: service({ type: "ExternalName" }),
    says: ["spec.externalName: Required value"],
  },
  {
    what: "addresses of a Service",
    of: service({ clusterIP: "10.96.0.010", ports: [{ port: 80 }], externalIPs: ["127.0.0.1"] }),
    says: [
      'spec.clusterIPs[0]: Invalid value: "10.96.0.010": must not have leading 0s',
      'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ],
  },
  {
    what: "names that no Service may have",
    of: object("v1", "Service", { spec: { ports: [{ port: 80 }] } }, "API-server"),
    says: [
      "metadata.name: Invalid value: \"API-server\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    ],
  },
  {
    what: "a template that its selector does not match",
    of: deployment({ selector: { matchLabels: { app: "api" } } }),
    says: ['spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
  },
  {
    what: "a Job's pods that start again for ever",
    of: object("batch/v1", "Job", { spec: { template } }),
    says: ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
  },
  {
    what: "policies",
    of: object("networking.k8s.io/v1", "NetworkPolicy", {
      spec: {
        podSelector: {},
        ingress: [
          {
            from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] } }, {}],
            ports: [{ port: 80, endPort: 70 }, { endPort: 1 }],
          },
        ],
      },
    }),
    says: [
      'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
      "spec.ingress[0].from[1]: Required value: must specify a peer",
      "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
      "spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is not specified",
    ],
  },
  {
    what: "cluster policies",
    of: object("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", {
      spec: {
        tier: "Admin",
        priority: 1001,
        subject: {},
        egress: [
          { action: "Allow", to: [{ networks: ["10.0.0.0/33"] }] },
          { action: "Accept", to: [{ nodes: {} }], protocols: [{ destinationNamedPort: "http" }] },
        ],
        ingress: [
          {
            action: "Deny",
            from: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { range: { start: 90, end: 80 } } } }],
          },
        ],
      },
    }),
    says: [
      'spec.egress[0].action: Unsupported value: "Allow": supported values: "Accept", "Deny", "Pass"',
      'spec.egress[0].to[0].networks[0]: Invalid value: "10.0.0.0/33": Invalid CIDR format provided',
      'spec.egress[1]: Invalid value: "object": networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames',
      'spec.ingress[0].protocols[0].tcp.destinationPort.range: Invalid value: "object": Start port must be less than End port',
      "spec.priority: Invalid value: 1001: spec.priority in body should be less than or equal to 1000",
      "spec.subject: Invalid value: {}: spec.subject in body should have at least 1 properties",
    ],
  },
  {
    what: "EndpointSlices",
    of: object("discovery.k8s.io/v1", "EndpointSlice", {
      addressType: "IPv4",
      endpoints: [{ addresses: ["fd00::1"] }, {}],
    }),
    says: [
      'endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address',
      "endpoints[1].addresses: Required value: must contain at least 1 address",
    ],
  },
  {
    what: "an Ingress",
    of: object("networking.k8s.io/v1", "Ingress", {
      spec: {
        rules: [
          {
            host: "10.0.0.1",
            http: { paths: [{ path: "a", pathType: "Prefix", backend: { service: { name: "x", port: {} } } }] },
          },
        ],
      },
    }),
    says: [
      "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
      'spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path',
      'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
    ],
  },
  {
    what: "constraints of CRDs",
    of: object("gateway.networking.k8s.io/v1", "HTTPRoute", {
      spec: { rules: [{ backendRefs: [{ name: "x", port: 99_999 }] }] },
    }),
    says: [
      "spec.rules[0].backendRefs[0].port: Invalid value: 99999: spec.rules[0].backendRefs[0].port in body should be less than or equal to 65535",
    ],
  },
  {
    what: "labels and data keys",
    of: {
      ...object("v1", "ConfigMap", { data: { "a/b": "x" } }),
      metadata: { name: "a", labels: { app: "web server" } },
    },
    says: [
      "metadata.labels: Invalid value: \"web server\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
      "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    ],
  },
];

for (const { what, of, says } of cases)
  test(what, () => {
    assert.deepEqual(problems(of), says);
  });

const updates: readonly { what: string; before: KubeObject; after: KubeObject; says: readonly string[] }[] = [
  {
    what: "a Deployment's selector stays",
    before: deployment({}),
    after: deployment({ selector: { matchExpressions: [{ key: "app", operator: "Exists" }] } }),
    says: [
      'spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable',
    ],
  },
  {
    what: "a pod is given to a node",
    before: pod({ containers: [container] }),
    after: pod({ containers: [container], nodeName: "node-1" }),
    says: [],
  },
  {
    what: "a pod stays on its node",
    before: pod({ containers: [container], nodeName: "node-1" }),
    after: pod({ containers: [container], nodeName: "node-2" }),
    says: [
      "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    ],
  },
  {
    what: "a pod's command stays, its image may change",
    before: pod({ containers: [container] }),
    after: pod({ containers: [{ ...container, image: "nginx:2", command: ["x"] }] }),
    says: [
      "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    ],
  },
  {
    what: "a Service's address stays",
    before: service({ clusterIP: "10.96.0.1", clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] }),
    after: service({ clusterIP: "10.96.0.2", clusterIPs: ["10.96.0.2"], ports: [{ port: 80 }] }),
    says: ['spec.clusterIPs[0]: Invalid value: ["10.96.0.2"]: may not change once set'],
  },
];

for (const { what, before, after, says } of updates)
  test(what, () => {
    assert.deepEqual(validateUpdate(withDefaults(after), withDefaults(before)).map(problemText), says);
  });
