// Services: what is filled in, what is refused, and what an update keeps, releases and may not change.

import { casesOf, status, type Case } from "./case.testing.ts";

const port = { port: 80 };
const of_ = (spec: object): object => ({ spec });
const ports = [port];

export const cases: readonly Case[] = casesOf("v1/services", [
  ["a plain one", of_({ selector: { a: "b" }, ports })],
  ["without anything", {}],
  ["without ports", of_({})],
  ["without ports, headless", of_({ clusterIP: "None" })],
  ["of a type that is none", of_({ type: "Foo", ports })],
  [
    "node ports",
    of_({
      type: "NodePort",
      ports: [
        { port: 80, name: "a" },
        { port: 80, name: "b", protocol: "UDP", targetPort: "x" },
      ],
    }),
  ],
  [
    "a load balancer",
    of_({ type: "LoadBalancer", ports, sessionAffinity: "ClientIP", externalTrafficPolicy: "Local" }),
  ],
  ["a load balancer without node ports", of_({ type: "LoadBalancer", ports, allocateLoadBalancerNodePorts: false })],
  ["an external name", of_({ type: "ExternalName", externalName: "x.y" })],
  ["an external name without a name", of_({ type: "ExternalName", ports })],
  ["an external name with a dot at its end", of_({ type: "ExternalName", externalName: "x.y." })],
  ["an external name that is none", of_({ type: "ExternalName", externalName: "X_y" })],
  ["an external name with an address", of_({ type: "ExternalName", externalName: "x.y", clusterIP: "10.96.1.2" })],
  ["an external name that is headless", of_({ type: "ExternalName", externalName: "x.y", clusterIP: "None" })],
  [
    "an external name with families",
    of_({ type: "ExternalName", externalName: "x.y", ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack" }),
  ],
  [
    "ports out of range",
    of_({
      ports: [
        { port: 0, name: "a" },
        { port: 70000, name: "b" },
        { port: -1, name: "c" },
      ],
    }),
  ],
  ["protocols that are none", of_({ ports: [{ port: 1, protocol: "X" }] })],
  [
    "target ports that are none",
    of_({
      ports: [
        { port: 1, name: "a", targetPort: "-x" },
        { port: 2, name: "b", targetPort: 70000 },
        { port: 3, name: "c", targetPort: "aaaaaaaaaaaaaaaaaaaaa" },
        { port: 4, name: "d", targetPort: "1" },
        { port: 5, name: "e", targetPort: "A--b" },
      ],
    }),
  ],
  [
    "target ports of a headless one",
    of_({
      clusterIP: "None",
      ports: [
        { port: 1, name: "a", targetPort: "x" },
        { port: 2, name: "b", targetPort: 3 },
      ],
    }),
  ],
  ["ports without names", of_({ ports: [{ port: 1 }, { port: 2 }] })],
  [
    "ports with one name",
    of_({
      ports: [
        { port: 1, name: "a" },
        { port: 2, name: "a" },
      ],
    }),
  ],
  [
    "a port twice",
    of_({
      ports: [
        { port: 1, name: "a" },
        { port: 1, name: "b" },
      ],
    }),
  ],
  [
    "port names that are none",
    of_({
      ports: [
        { port: 1, name: "A_b" },
        { port: 2, name: "a.b" },
        { port: 3, name: "a".repeat(64) },
      ],
    }),
  ],
  [
    "application protocols",
    of_({
      ports: [
        { port: 1, name: "a", appProtocol: "kubernetes.io/h2c" },
        { port: 2, name: "b", appProtocol: "a b" },
      ],
    }),
  ],
  ["a session affinity that is none", of_({ ports, sessionAffinity: "y" })],
  [
    "a session affinity with a timeout",
    of_({ ports, sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } }),
  ],
  [
    "a session affinity with no timeout at all",
    of_({ ports, sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } } }),
  ],
  [
    "a session affinity that lasts too long",
    of_({ ports, sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 86401 } } }),
  ],
  ["a timeout without affinity", of_({ ports, sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } })],
  ["an address that is none", of_({ ports, clusterIP: "1.2.3" })],
  ["an address with leading zeros", of_({ ports, clusterIP: "010.096.1.2" })],
  ["an address out of range", of_({ ports, clusterIP: "10.97.0.1" })],
  ["the address of the range", of_({ ports, clusterIP: "10.96.0.0" })],
  ["an address of its own", of_({ ports, clusterIP: "10.96.77.1" })],
  ["addresses that do not agree", of_({ ports, clusterIP: "10.96.77.1", clusterIPs: ["10.96.77.2"] })],
  ["addresses without the first", of_({ ports, clusterIPs: ["10.96.77.2"] })],
  ["two addresses of a family", of_({ ports, clusterIP: "10.96.77.1", clusterIPs: ["10.96.77.1", "10.96.77.2"] })],
  ["three addresses", of_({ ports, clusterIP: "10.96.77.1", clusterIPs: ["10.96.77.1", "fd00::1", "fd00::2"] })],
  ["none and an address", of_({ ports, clusterIP: "None", clusterIPs: ["None", "10.96.77.1"] })],
  ["an address of a family that is not there", of_({ ports, clusterIP: "fd00::1" })],
  ["a family that is not there", of_({ ports, ipFamilies: ["IPv6"] })],
  ["a family that is none", of_({ ports, ipFamilies: ["IPv5"] })],
  ["a family twice", of_({ ports, ipFamilies: ["IPv4", "IPv4"] })],
  ["three families", of_({ ports, ipFamilies: ["IPv4", "IPv6", "IPv4"] })],
  ["a family policy that is none", of_({ ports, ipFamilyPolicy: "Foo" })],
  ["both families required", of_({ ports, ipFamilyPolicy: "RequireDualStack" })],
  ["both families preferred", of_({ ports, ipFamilyPolicy: "PreferDualStack" })],
  ["both families for one", of_({ ports, ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4", "IPv6"] })],
  [
    "headless, both families preferred",
    of_({ clusterIP: "None", selector: { a: "b" }, ipFamilyPolicy: "PreferDualStack" }),
  ],
  ["headless, without selector", of_({ clusterIP: "None", ports })],
  ["headless with node ports", of_({ type: "NodePort", clusterIP: "None", ports })],
  ["headless load balancer", of_({ type: "LoadBalancer", clusterIP: "None", ports })],
  ["a node port without its type", of_({ ports: [{ port: 80, nodePort: 30001 }] })],
  ["a node port out of range", of_({ type: "NodePort", ports: [{ port: 80, nodePort: 99 }] })],
  ["a node port that is none", of_({ type: "NodePort", ports: [{ port: 80, nodePort: 99999 }] })],
  [
    "a node port twice",
    of_({
      type: "NodePort",
      ports: [
        { port: 80, name: "a", nodePort: 31001 },
        { port: 81, name: "b", nodePort: 31001 },
      ],
    }),
  ],
  ["an external policy without outside", of_({ externalTrafficPolicy: "Local", ports })],
  ["an external policy that is none", of_({ type: "NodePort", externalTrafficPolicy: "Foo", ports })],
  ["an internal policy that is none", of_({ internalTrafficPolicy: "Foo", ports })],
  ["an internal policy", of_({ internalTrafficPolicy: "Local", ports })],
  [
    "source ranges",
    of_({ type: "LoadBalancer", loadBalancerSourceRanges: [" 10.0.0.0/8 ", "x", "10.0.0.1/8", "1.2.3.4"], ports }),
  ],
  ["source ranges without load balancer", of_({ loadBalancerSourceRanges: ["10.0.0.0/8"], ports })],
  [
    "source ranges in an annotation",
    {
      metadata: { annotations: { "service.beta.kubernetes.io/load-balancer-source-ranges": "x" } },
      spec: { type: "LoadBalancer", ports },
    },
  ],
  ["external addresses", of_({ externalIPs: ["192.0.2.1"], ports })],
  [
    "external addresses that are none",
    of_({ externalIPs: ["127.0.0.1", "x", "0.0.0.0", "169.254.1.1", "224.0.0.1", "::1", "010.0.0.1"], ports }),
  ],
  ["a distribution that is none", of_({ trafficDistribution: "Foo", ports })],
  [
    "distributions",
    of_({ trafficDistribution: "PreferSameNode", ports }),
    { spec: { trafficDistribution: "PreferClose" } },
  ],
  ["a health check port of no use", of_({ healthCheckNodePort: 5, ports })],
  [
    "a health check port out of range",
    of_({ type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: 5, ports }),
  ],
  [
    "a class",
    of_({ type: "LoadBalancer", loadBalancerClass: "a.b/c", ports }),
    { spec: { loadBalancerClass: "a.b/d" } },
    { spec: { loadBalancerClass: null } },
    { spec: { type: "ClusterIP" } },
  ],
  ["a class without load balancer", of_({ loadBalancerClass: "a.b/c", ports })],
  ["a class that is none", of_({ type: "LoadBalancer", loadBalancerClass: "a b", ports })],
  ["node ports of no load balancer", of_({ allocateLoadBalancerNodePorts: true, ports })],
  ["a load balancer's address", of_({ type: "LoadBalancer", loadBalancerIP: "1.2.3.4", ports })],
  ["a load balancer's address that is none", of_({ type: "LoadBalancer", loadBalancerIP: "x", ports })],
  ["a selector that is none", of_({ selector: { "a b": "c", d: "e f" }, ports })],
  ["names", { metadata: { name: "1-good" }, spec: { ports } }],
  ["a name that is none", { metadata: { name: "a.b" }, spec: { ports } }],
  ["a name that is too long", { metadata: { name: "a".repeat(64) }, spec: { ports } }],
  ["publishing", of_({ publishNotReadyAddresses: true, ports })],
  [
    "topology annotations",
    {
      metadata: {
        annotations: {
          "service.kubernetes.io/topology-mode": "Auto",
          "service.alpha.kubernetes.io/tolerate-unready-endpoints": "true",
        },
      },
      spec: { ports },
    },
  ],
  [
    "a topology annotation and a distribution",
    {
      metadata: { annotations: { "service.kubernetes.io/topology-mode": "Auto" } },
      spec: { trafficDistribution: "PreferClose", ports },
    },
  ],
  [
    "headless with what has no effect",
    of_({ clusterIP: "None", ports, externalIPs: ["192.0.2.1"], sessionAffinity: "ClientIP" }),
  ],
  [
    "external names with what has no effect",
    of_({ type: "ExternalName", externalName: "x.y", externalIPs: ["192.0.2.1"], sessionAffinity: "ClientIP" }),
  ],
  ["a status of its own", { spec: { ports }, status: { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } } }],

  [
    "from plain to others",
    of_({ ports }),
    { spec: { type: "NodePort" } },
    { spec: { type: "LoadBalancer" } },
    { spec: { type: "NodePort" } },
    { spec: { type: "ClusterIP" } },
  ],
  [
    "from load balancer to plain",
    of_({ type: "LoadBalancer", externalTrafficPolicy: "Local", ports }),
    { spec: { externalTrafficPolicy: "Cluster" } },
    { spec: { externalTrafficPolicy: "Local" } },
    { spec: { type: "ClusterIP" } },
  ],
  [
    "from plain to an external name",
    of_({ ports }),
    { spec: { type: "ExternalName", externalName: "x.y" } },
    { spec: { type: "ClusterIP" } },
    { spec: { type: "ClusterIP", externalName: null } },
  ],
  [
    "from plain to an external name, without address",
    of_({ ports }),
    { spec: { type: "ExternalName", externalName: "x.y", clusterIP: "" } },
  ],
  [
    "another address",
    of_({ ports }),
    { spec: { clusterIP: "10.96.77.9" } },
    { spec: { clusterIP: null } },
    { spec: { clusterIP: "" } },
    { spec: { clusterIPs: ["10.96.77.9"] } },
    { spec: { clusterIP: "None" } },
    { spec: { clusterIP: "x" } },
  ],
  [
    "from headless to an address",
    of_({ clusterIP: "None", ports }),
    { spec: { clusterIP: "10.96.77.9" } },
    { spec: { clusterIP: null } },
  ],
  [
    "node ports of a load balancer that wants none any more",
    of_({ type: "LoadBalancer", ports }),
    { spec: { allocateLoadBalancerNodePorts: false } },
    { spec: { ports: [{ port: 80 }] } },
    { spec: { ports: [{ port: 80, nodePort: 31006 }] } },
    { spec: { type: "ClusterIP" } },
  ],
  [
    "another health check port",
    of_({ type: "LoadBalancer", externalTrafficPolicy: "Local", ports }),
    { spec: { healthCheckNodePort: 32001 } },
    { spec: { healthCheckNodePort: null } },
  ],
  [
    "another node port",
    of_({ type: "NodePort", ports }),
    { spec: { ports: [{ port: 80, nodePort: 31005 }] } },
    { spec: { ports: [{ port: 81 }] } },
    { spec: { ports: [] } },
  ],
  [
    "families that change",
    of_({ ports }),
    { spec: { ipFamilies: ["IPv6"] } },
    { spec: { ipFamilyPolicy: "PreferDualStack" } },
    { spec: { ipFamilyPolicy: "RequireDualStack" } },
    { spec: { ipFamilies: null } },
    { spec: { ipFamilyPolicy: null } },
  ],
  ["defaults taken away", of_({ ports }), { spec: { type: null, sessionAffinity: null, internalTrafficPolicy: null } }],
  [
    "session affinity comes and goes",
    of_({ ports }),
    { spec: { sessionAffinity: "ClientIP" } },
    { spec: { sessionAffinity: "None" } },
    { spec: { sessionAffinity: "None", sessionAffinityConfig: null } },
  ],
  [
    "a status",
    of_({ type: "LoadBalancer", ports }),
    status({ loadBalancer: { ingress: [{ ip: "192.0.2.1", ports: [{ port: 80, protocol: "TCP" }] }] } }),
    status({
      loadBalancer: { ingress: [{ ip: "x", ipMode: "Foo" }, { hostname: "1.2.3.4" }, { hostname: "A_b" }, {}] },
    }),
    status({ loadBalancer: { ingress: [{ ip: "192.0.2.1", ipMode: "Proxy" }] } }),
    { spec: { type: "ClusterIP" } },
  ],
  [
    "a status where none belongs",
    of_({ ports }),
    status({ loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } }),
    status({
      conditions: [{ type: "x", status: "True", reason: "Y", message: "", lastTransitionTime: "2026-01-01T00:00:00Z" }],
    }),
    status({ conditions: [{ type: "x y", status: "Foo", reason: "", message: "" }] }),
  ],
  ["labels", { metadata: { labels: { "a b": "c" }, annotations: { "a b": "d" } }, spec: { ports } }],
  [
    "owners",
    {
      metadata: { ownerReferences: [{ apiVersion: "", kind: "", name: "", uid: "" }], finalizers: ["x"] },
      spec: { ports },
    },
  ],
]);
