// Endpoints, EndpointSlices, NetworkPolicies, Ingresses and their classes, ServiceCIDRs and IPAddresses.

import { casesOf, status, type Case } from "./case.testing.ts";

const slice = (fields: object): object => ({
  addressType: "IPv4",
  endpoints: [{ addresses: ["10.0.0.1"] }],
  ports: [{ port: 80 }],
  ...fields,
});
const policy = (spec: object): object => ({ spec: { podSelector: {}, ...spec } });
const from = (peer: object): object => policy({ ingress: [{ from: [peer] }] });
const onPort = (port: object): object => policy({ ingress: [{ ports: [port] }] });
const backend = { service: { name: "x", port: { number: 80 } } };
const path = (fields: object): object => ({ path: "/", pathType: "Prefix", backend, ...fields });
const rule = (fields: object): object => ({ spec: { rules: [{ host: "a.b", http: { paths: [path(fields)] } }] } });
const host = (name: string): object => ({ spec: { rules: [{ host: name, http: { paths: [path({})] } }] } });

const endpoints = casesOf("v1/endpoints", [
  [
    "plain",
    { subsets: [{ addresses: [{ ip: "10.0.0.1" }], ports: [{ port: 1 }] }] },
    { subsets: [{ addresses: [{ ip: "10.0.0.2", nodeName: "n" }], ports: [{ port: 1 }] }] },
    { subsets: [{ addresses: [{ ip: "10.0.0.2", nodeName: "m" }], ports: [{ port: 1 }] }] },
  ],
  ["empty", {}],
  ["without addresses", { subsets: [{ ports: [{ port: 1 }] }] }],
  [
    "bad addresses",
    {
      subsets: [
        {
          addresses: [
            { ip: "127.0.0.1" },
            { ip: "x" },
            { ip: "" },
            { ip: "169.254.0.1" },
            { ip: "224.0.0.1" },
            { ip: "0.0.0.0" },
            { ip: "010.0.0.1" },
            { ip: "::ffff:1.2.3.4" },
          ],
          ports: [{ port: 1 }],
        },
      ],
    },
  ],
  [
    "bad hostnames",
    {
      subsets: [
        { addresses: [{ ip: "10.0.0.1", hostname: "A_b", nodeName: "X y" }], notReadyAddresses: [{ ip: "x" }] },
      ],
    },
  ],
  [
    "bad ports",
    {
      subsets: [
        {
          addresses: [{ ip: "10.0.0.1" }],
          ports: [{ port: 0 }, { port: 70000, name: "A_" }, { port: 1, protocol: "X", name: "b", appProtocol: "a b" }],
        },
      ],
    },
  ],
  [
    "one name for two ports",
    {
      subsets: [
        {
          addresses: [{ ip: "10.0.0.1" }],
          ports: [
            { port: 1, name: "a" },
            { port: 2, name: "a" },
          ],
        },
      ],
    },
  ],
]);

const slices = casesOf("discovery.k8s.io/v1/endpointslices", [
  [
    "plain",
    slice({}),
    { addressType: "IPv6" },
    { endpoints: null },
    { ports: null },
    { metadata: { labels: { "kubernetes.io/service-name": "x" } } },
  ],
  ["no type", { endpoints: [] }],
  ["a type that is none", slice({ addressType: "X" })],
  [
    "IPv6",
    slice({
      addressType: "IPv6",
      endpoints: [
        { addresses: ["fd00::1"] },
        { addresses: ["10.0.0.1"] },
        { addresses: ["fe80::1"] },
        { addresses: ["::1"] },
        { addresses: ["fd00:0::1"] },
        { addresses: ["x"] },
      ],
    }),
  ],
  [
    "names",
    slice({ addressType: "FQDN", endpoints: [{ addresses: ["a.b"] }, { addresses: ["A_b"] }, { addresses: ["a"] }] }),
  ],
  [
    "bad addresses",
    slice({
      endpoints: [
        { addresses: ["::1"] },
        { addresses: ["127.0.0.1"] },
        { addresses: [] },
        {},
        { addresses: ["x"] },
        { addresses: ["10.0.0.1", "10.0.0.2"] },
        { addresses: ["010.0.0.1"] },
        { addresses: ["0.0.0.0"] },
      ],
    }),
  ],
  ["an address twice", slice({ endpoints: [{ addresses: ["10.0.0.1"] }, { addresses: ["10.0.0.1"] }] })],
  [
    "bad ports",
    slice({
      ports: [
        { port: 80, protocol: "X" },
        { port: 80 },
        { port: 0, name: "a" },
        { port: 70000, name: "b" },
        { name: "A_b", port: 1 },
        { name: "c", port: 2, appProtocol: "a b" },
      ],
    }),
  ],
  ["ports without numbers", slice({ ports: [{ name: "a" }, {}] })],
  [
    "conditions",
    slice({ endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: true, serving: false, terminating: true } }] }),
  ],
  [
    "hints",
    slice({
      endpoints: [
        {
          addresses: ["10.0.0.1"],
          zone: "a",
          nodeName: "n",
          hints: {
            forZones: [{ name: "a" }, { name: "a" }, { name: "A b" }],
            forNodes: [{ name: "a" }, { name: "a" }, { name: "A b" }],
          },
        },
      ],
    }),
  ],
  [
    "too many hints",
    slice({
      endpoints: [{ addresses: ["10.0.0.1"], hints: { forZones: "abcdefghi".split("").map((name) => ({ name })) } }],
    }),
  ],
  ["bad hostnames", slice({ endpoints: [{ addresses: ["10.0.0.1"], hostname: "A_b", nodeName: "X y", zone: "a b" }] })],
  ["old topology", slice({ endpoints: [{ addresses: ["10.0.0.1"], deprecatedTopology: { "a b": "c" } }] })],
]);

const policies = casesOf("networking.k8s.io/v1/networkpolicies", [
  [
    "plain",
    policy({}),
    { spec: { egress: [{}] } },
    { spec: { policyTypes: ["Ingress", "Egress"] } },
    { spec: { podSelector: { matchLabels: { a: "b" } } } },
  ],
  ["without anything", {}],
  [
    "everything",
    policy({
      ingress: [
        {
          from: [
            { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } },
            { namespaceSelector: {}, podSelector: { matchLabels: { a: "b" } } },
          ],
          ports: [{ port: 80 }, { port: "x", protocol: "UDP" }, { port: 80, endPort: 90 }, {}],
        },
      ],
      egress: [{}],
    }),
  ],
  [
    "a selector that is none",
    policy({
      podSelector: {
        matchLabels: { "a b": "c d" },
        matchExpressions: [
          { key: "a", operator: "Foo", values: ["x"] },
          { key: "b", operator: "In" },
          { key: "c", operator: "Exists", values: ["x"] },
          { key: "d e", operator: "Exists" },
          { operator: "In", values: ["x y"] },
        ],
      },
    }),
  ],
  ["types", policy({ policyTypes: ["X", "Ingress", "Egress", "X"] })],
  ["a type that is none", policy({ policyTypes: ["X"] })],
  ["a type twice", policy({ policyTypes: ["Egress", "Egress"] })],
  ["no types at all", policy({ policyTypes: [] })],
  ["an empty peer", from({})],
  ["a block and a selector", from({ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} })],
  ["a block with host bits", from({ ipBlock: { cidr: "10.0.0.1/8" } })],
  ["a block that is none", from({ ipBlock: { cidr: "x" } })],
  ["a block without range", from({ ipBlock: {} })],
  [
    "exceptions outside",
    from({
      ipBlock: { cidr: "10.0.0.0/8", except: ["11.1.0.0/16", "x", "10.0.0.0/8", "10.0.0.0/7", "fd00::/64", ""] },
    }),
  ],
  [
    "exceptions of a block with host bits",
    from({ ipBlock: { cidr: "10.0.0.1/8", except: ["11.1.0.0/16", "10.2.0.1/16"] } }),
  ],
  [
    "a selector of peers that is none",
    from({
      namespaceSelector: { matchLabels: { "a b": "c" } },
      podSelector: { matchExpressions: [{ key: "a", operator: "In" }] },
    }),
  ],
  ["a port out of range", onPort({ port: 80000 })],
  ["port zero", onPort({ port: 0 })],
  ["a port's name that is none", onPort({ port: "xXX__" })],
  ["a protocol that is none", onPort({ port: 80, protocol: "FOO" })],
  ["a range backwards", onPort({ port: 80, endPort: 9 })],
  ["a range without start", onPort({ endPort: 5 })],
  ["a range of a name", onPort({ port: "x", endPort: 5 })],
  ["a range out of range", onPort({ port: 80, endPort: 70000 })],
  ["egress", policy({ egress: [{ to: [{}], ports: [{ port: 80000 }] }], policyTypes: ["Ingress"] })],
  [
    "host bits as before",
    from({ ipBlock: { cidr: "10.0.0.0/8" } }),
    { spec: { ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.1/8" } }] }] } },
  ],
]);

const ingresses = casesOf("networking.k8s.io/v1/ingresses", [
  [
    "plain",
    rule({}),
    { spec: { ingressClassName: "x" } },
    { spec: { rules: null } },
    { spec: { defaultBackend: backend } },
    { spec: { rules: null, defaultBackend: backend } },
    status({ loadBalancer: { ingress: [{ ip: "192.0.2.1", ports: [{ port: 80, protocol: "TCP", error: "x y" }] }] } }),
    status({ loadBalancer: { ingress: [{ ip: "x" }, { hostname: "A_b" }, {}] } }),
  ],
  ["without anything", {}],
  ["a default backend", { spec: { defaultBackend: backend } }],
  [
    "a default backend that is a resource",
    { spec: { defaultBackend: { resource: { kind: "X", name: "y", apiGroup: "a.b" } } } },
  ],
  ["a default backend without anything", { spec: { defaultBackend: {} } }],
  ["a resource that is none", { spec: { defaultBackend: { resource: { kind: "", name: "" } } } }],
  ["both backends", { spec: { defaultBackend: { ...backend, resource: { kind: "X", name: "y" } } } }],
  ["no path type", rule({ pathType: undefined })],
  ["a path type that is none", rule({ path: "x", pathType: "Foo" })],
  ["a relative path", rule({ path: "x" })],
  ["no path", rule({ path: "" })],
  ["no path, as the controller likes", rule({ path: "", pathType: "ImplementationSpecific" })],
  ["a relative path, as the controller likes", rule({ path: "x", pathType: "ImplementationSpecific" })],
  [
    "odd paths",
    {
      spec: {
        rules: [
          {
            http: {
              paths: ["/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a%2Fb", "/a/..", "/a/."].map((text) =>
                path({ path: text, pathType: "Exact" }),
              ),
            },
          },
        ],
      },
    },
  ],
  ["an odd regular expression", rule({ path: "/[", pathType: "ImplementationSpecific" })],
  ["no paths", { spec: { rules: [{ host: "a.b", http: { paths: [] } }] } }],
  ["a host alone", { spec: { rules: [{ host: "a.b" }] } }],
  ["a host that is none", host("A.b")],
  ["a host that is an address", host("10.0.0.1")],
  ["wildcards", host("*.a.b")],
  ["wildcards that are none", host("a.*.b")],
  ["a backend without name", rule({ backend: { service: { name: "", port: { number: 80 } } } })],
  ["a backend with an odd name", rule({ backend: { service: { name: "A_b", port: { number: 80 } } } })],
  ["a backend with a number for a name", rule({ backend: { service: { name: "1a", port: { number: 80 } } } })],
  ["a backend without port", rule({ backend: { service: { name: "a" } } })],
  ["a backend with both ports", rule({ backend: { service: { name: "a", port: { number: 80, name: "x" } } } })],
  ["a backend with a bad port", rule({ backend: { service: { name: "a", port: { number: 80000 } } } })],
  ["a backend with a bad port's name", rule({ backend: { service: { name: "a", port: { name: "-A_" } } } })],
  ["a backend with a resource", rule({ backend: { resource: { apiGroup: "a.b", kind: "X", name: "y" } } })],
  ["nothing behind", rule({ backend: {} })],
  [
    "certificates",
    { spec: { tls: [{ hosts: ["a.b", "*.a.b", "A_b", "10.0.0.1"], secretName: "A_b" }], defaultBackend: backend } },
  ],
  ["a class that is none", { spec: { ingressClassName: "A_b", defaultBackend: backend } }],
  [
    "an old annotation",
    { metadata: { annotations: { "kubernetes.io/ingress.class": "x" } }, spec: { defaultBackend: backend } },
    { spec: { ingressClassName: "x" } },
  ],
  [
    "an old annotation and a class",
    {
      metadata: { annotations: { "kubernetes.io/ingress.class": "x" } },
      spec: { ingressClassName: "x", defaultBackend: backend },
    },
  ],
]);

const classes = casesOf("networking.k8s.io/v1/ingressclasses", [
  [
    "plain",
    { spec: { controller: "a.b/c" } },
    { spec: { controller: "a.b/d" } },
    { spec: { parameters: { kind: "X", name: "y" } } },
    { spec: { parameters: { kind: "X", name: "y", scope: "Namespace" } } },
    { spec: { parameters: { scope: "Namespace", namespace: "z" } } },
    { spec: { parameters: { scope: "Cluster", namespace: "z" } } },
    { spec: { parameters: { scope: "Foo" } } },
  ],
  ["without anything", {}],
  ["a controller that is none", { spec: { controller: "ab c" } }],
  ["a controller without domain", { spec: { controller: "abc" } }],
  ["a controller that is too long", { spec: { controller: `a.b/${"c".repeat(250)}` } }],
  ["parameters", { spec: { controller: "a.b/c", parameters: { apiGroup: "A_b", kind: "", name: "" } } }],
  [
    "parameters in a namespace",
    {
      spec: {
        controller: "a.b/c",
        parameters: { apiGroup: "a.b", kind: "X", name: "y", scope: "Namespace", namespace: "A b" },
      },
    },
  ],
]);

const ranges = casesOf("networking.k8s.io/v1/servicecidrs", [
  [
    "plain",
    { spec: { cidrs: ["10.100.0.0/16"] } },
    { spec: { cidrs: ["10.101.0.0/16"] } },
    { spec: { cidrs: ["10.100.0.0/16", "fd00::/112"] } },
    { spec: { cidrs: null } },
    status({
      conditions: [
        { type: "Ready", status: "True", reason: "x", message: "", lastTransitionTime: "2026-01-01T00:00:00Z" },
      ],
    }),
    status({ conditions: [{ type: "", status: "X" }] }),
  ],
  ["without anything", {}],
  ["none", { spec: { cidrs: [] } }],
  ["host bits", { spec: { cidrs: ["10.100.0.1/16"] } }],
  ["one family twice", { spec: { cidrs: ["10.100.0.0/16", "10.9.0.0/16"] } }],
  ["host bits and one family twice", { spec: { cidrs: ["10.100.0.1/16", "10.9.0.0/16"] } }],
  ["three", { spec: { cidrs: ["10.100.0.0/16", "fd00::/112", "10.102.0.0/16"] } }],
  ["not canonical", { spec: { cidrs: ["fd00:0::/112"] } }],
  ["no range", { spec: { cidrs: ["x", "10.0.0.1"] } }],
  ["mapped", { spec: { cidrs: ["::ffff:10.0.0.0/112"] } }],
]);

const parentRef = { resource: "services", name: "x", namespace: "y" };
const addresses = casesOf("networking.k8s.io/v1/ipaddresses", [
  ["plain", { metadata: { name: "10.100.0.9" }, spec: { parentRef } }, { spec: { parentRef: { name: "z" } } }],
  ["without anything", { metadata: { name: "10.100.0.9" } }],
  ["no parent", { metadata: { name: "10.100.0.9" }, spec: {} }],
  ["a name that is none", { metadata: { name: "010.1" }, spec: { parentRef } }],
  ["leading zeros", { metadata: { name: "010.100.0.9" }, spec: { parentRef } }],
  ["not canonical", { metadata: { name: "fd00:0:0::9" }, spec: { parentRef } }],
  [
    "a parent without name",
    { metadata: { name: "10.100.0.9" }, spec: { parentRef: { resource: "", name: "", namespace: "" } } },
  ],
  [
    "a parent that is none",
    {
      metadata: { name: "10.100.0.9" },
      spec: { parentRef: { group: "A_b", resource: "A/b", name: "a/b", namespace: "a/b" } },
    },
  ],
]);

export const cases: readonly Case[] = [
  ...endpoints,
  ...slices,
  ...policies,
  ...ingresses,
  ...classes,
  ...ranges,
  ...addresses,
];
