// Policies in plain words: whom one isolates, what a rule lets through or denies. For traces, `policy explain` and status.

import { formatSelector } from "../kube/selector.ts";
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  Policy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
} from "../model/network.ts";

export type Direction = "ingress" | "egress";

/** `app=backend-db`, `every pod of namespace production` */
export function subjectText(policy: Policy): string {
  return policy.pods.length === 0 ? `every pod of namespace ${policy.namespace}` : formatSelector(policy.pods);
}

/** `lets in 5432/tcp only from app=api-server`, `lets out everything to anyone` */
export function ruleText(rule: PolicyRule, direction: Direction, policy: Policy): string {
  const [verb, word] = direction === "ingress" ? ["lets in", "from"] : ["lets out", "to"];
  if (rule.peers === "anyone") return `${verb} ${portsText(rule.ports)} ${word} anyone`;
  if (rule.peers.length === 0) return `${verb} nothing: no peer of it makes sense`;
  return `${verb} ${portsText(rule.ports)} only ${word} ${rule.peers.map((peer) => peerText(peer, policy)).join(" or ")}`;
}

/** `5432/tcp`, `80/tcp, 8000-8080/tcp`, `everything` */
export function portsText(ports: PolicyRule["ports"]): string {
  if (ports === "all") return "everything";
  if (ports.length === 0) return "nothing";
  return ports.map(portText).join(", ");
}

function portText(port: PolicyPort): string {
  switch (port.kind) {
    case "named":
      return `${port.name}/${port.protocol}`;
    case "range":
      if (port.first === 0) return `any/${port.protocol}`;
      return `${port.first === port.last ? port.first : `${port.first}-${port.last}`}/${port.protocol}`;
  }
}

/** `app=api-server`, `pods of namespace staging`, `10.0.0.0/8 without 10.1.0.0/16` */
export function peerText(peer: PolicyPeer, policy: Pick<Policy, "namespace">): string {
  switch (peer.kind) {
    case "block":
      return `${peer.cidr}${peer.except.length === 0 ? "" : ` without ${peer.except.join(", ")}`}`;
    case "pods": {
      const pods = peer.pods.length === 0 ? "any pod" : formatSelector(peer.pods);
      if (peer.namespaces === "own") return peer.pods.length === 0 ? `any pod of namespace ${policy.namespace}` : pods;
      if (peer.namespaces.length === 0) return peer.pods.length === 0 ? "any pod" : `${pods} of any namespace`;
      return `${pods} of namespaces ${formatSelector(peer.namespaces)}`;
    }
  }
}

/** `every pod`, `app=db of namespaces team=shop` */
export function clusterSubjectText({ subject, origin }: Pick<ClusterPolicy, "subject" | "origin">): string {
  const text = peerText({ kind: "pods", ...subject, origin }, noPolicy);
  return text === "any pod" ? "every pod" : text;
}

/** `rule "no-db" denies 5432/tcp to app=db of any namespace` */
export function clusterRuleText({ name, action, peers, ports, closed }: ClusterRule, direction: Direction): string {
  const what = name === undefined ? "" : `rule ${JSON.stringify(name)} `;
  const word = direction === "ingress" ? "from" : "to";
  const verb = { accept: "accepts", deny: "denies", pass: "leaves to the next tier" }[action];
  const why = closed === undefined ? "" : `, as ${closed}`;
  if (peers === "anyone") return `${what}${verb} ${portsText(ports)} ${word} anyone${why}`;
  if (peers.length === 0) return `${what}${verb} nothing${why}`;
  return `${what}${verb} ${clusterPortsText(ports)} ${word} ${peers.map(clusterPeerText).join(" or ")}${why}`;
}

/** A name of a port is one of whatever protocol there. */
export function clusterPortsText(ports: ClusterRule["ports"]): string {
  if (ports === "all") return portsText(ports);
  const texts = ports.map((port) => (port.kind === "named" ? port.name : portText(port)));
  return texts.length === 0 ? "nothing" : [...new Set(texts)].join(", ");
}

/** `any pod of namespaces team=shop`, `nodes zone=a`, `10.0.0.0/8` */
export function clusterPeerText(peer: ClusterPeer): string {
  switch (peer.kind) {
    case "nodes":
      return peer.nodes.length === 0 ? "any node" : `nodes ${formatSelector(peer.nodes)}`;
    case "block":
    case "pods":
      return peerText(peer, noPolicy);
  }
}

const noPolicy = { namespace: "" };
