import assert from "node:assert/strict";
import { test } from "node:test";

import type { ConnectionMatch } from "../kernel/kernel.ts";
import type { Endpoint, Network, NetworkNode, NetworkService } from "../model/network.ts";
import { endpoint, network, pod, port, service } from "../program/zone.testing.ts";
import { createNodeDnsSource } from "./node-dns-source.ts";
import { createSpared, isServing } from "./spared.ts";

const match = (replySource: string, destination = "10.96.0.10", replySourcePort = 53): ConnectionMatch => ({
  protocol: 17,
  destination,
  destinationPort: 53,
  replySource,
  replySourcePort,
});

const dns = (...endpoints: readonly Endpoint[]): NetworkService =>
  service("kube-system/kube-dns", {
    clusterIps: ["10.96.0.10"],
    ports: [{ ...port("dns", 53, endpoints), protocol: "udp" }, port("metrics", 9153, endpoints)],
  });
const at = (address: string, parts: Partial<Endpoint> = {}): Endpoint => endpoint(address, { port: 53, ...parts });

void test("an endpoint that serves keeps its connections, one that does not loses them, once", () => {
  let today: Network = network({ services: [dns(at("10.244.1.5", { ready: false, terminating: true }))] });
  const forgotten: ConnectionMatch[] = [];
  const timers: { readonly delayMs: number; readonly call: () => void }[] = [];
  let cancelled = 0;
  const spared = createSpared({
    answers: (one) => isServing(today, "node-1", one),
    forget: (one) => void forgotten.push(one),
    setTimer(delayMs, call) {
      timers.push({ delayMs, call });
      return { cancel: () => void cancelled++ };
    },
  });
  assert.equal(spared.spares(match("10.244.1.5")), true);
  assert.equal(spared.spares(match("10.244.1.6")), false, "no endpoint of it");
  assert.equal(spared.spares(match("10.244.1.5", "10.96.0.11")), false, "another Service");
  assert.equal(spared.spares(match("10.244.1.5", "10.96.0.10", 8080)), false, "another port");
  spared.forgetGone();
  assert.deepEqual(forgotten, []);
  today = network({ services: [dns(at("10.244.1.5", { ready: false, serving: false, terminating: true }))] });
  spared.forgetGone();
  spared.forgetGone();
  assert.deepEqual(forgotten, [match("10.244.1.5")]);
  assert.deepEqual([timers.length, cancelled], [1, 1]);

  today = network({ services: [dns(at("10.244.1.5"))] });
  spared.spares(match("10.244.1.5"));
  timers[1]?.call();
  assert.equal(forgotten.length, 2, "a question has its answer by then, or none");
});

void test("also those that came by a node port of this node, a load balancer's or an external address", () => {
  const leaving = { ...at("10.244.1.5", { ready: false, terminating: true }), port: 8081 };
  const origin = { kind: "Service", namespace: "default", name: "echo" };
  const external = [
    { kind: "load-balancer", address: "172.18.255.1", origin },
    { kind: "external-ip", address: "192.0.2.7", origin },
  ] as const;
  const echo = service("default/echo", {
    clusterIps: ["10.96.0.20"],
    ports: [{ ...port("udp", 81, [leaving]), protocol: "udp", nodePort: 30_081, external }],
  });
  const own = (name: string, address: string): NetworkNode => ({
    name,
    labels: {},
    addresses: [address],
    podCidrs: [],
    ready: true,
    origin: { kind: "Node", name },
  });
  const today = {
    ...network({ services: [echo] }),
    nodes: [own("node-1", "172.18.0.11"), own("node-2", "172.18.0.12")],
  };
  const spares = (destination: string, destinationPort: number): boolean =>
    isServing(today, "node-1", {
      protocol: 17,
      destination,
      destinationPort,
      replySource: "10.244.1.5",
      replySourcePort: 8081,
    });
  assert.equal(spares("172.18.0.11", 30_081), true);
  assert.equal(spares("172.18.255.1", 81), true);
  assert.equal(spares("192.0.2.7", 81), true);
  assert.equal(spares("172.18.0.11", 30_082), false, "a node port that it had");
  assert.equal(spares("172.18.0.12", 30_081), false, "another node translates that");
  assert.equal(spares("172.18.255.2", 81), false, "an address that it had");
  assert.equal(spares("192.0.2.7", 82), false, "a port that it had");
});

void test("a node that answers DNS itself: its clients get it alone, other ports and families lead where they led", () => {
  const labels = { "k8s-app": "kube-dns", app: "dns", "pod-template-hash": "5d8" };
  const ends = [
    at("10.244.1.5", { pod: "kube-system/coredns-a" }),
    at("fd00:10:244::5", { pod: "kube-system/coredns-a" }),
  ];
  const from = network({
    services: [dns(...ends), service("default/web", { clusterIps: ["10.96.0.20"] })],
    pods: [{ ...pod("kube-system/coredns-a", ["10.244.1.5"]), labels }],
  });
  const flushed: ConnectionMatch[] = [];
  const source = createNodeDnsSource({
    node: "node-1",
    source: { current: () => from, subscribe: () => ({ close: () => {} }) },
    kernel: { flushConnections: (one) => flushed.push(one) },
  });
  let told = 0;
  source.subscribe(() => told++);
  assert.equal(source.current(), from);
  const place = { name: "node-dns-node-1", addresses: ["10.244.1.2"], port: 53 };
  source.place(place);
  const own = source.current();
  assert.equal(source.current(), own, "the same value until something changes");
  const [kubeDns, web] = own.services;
  assert.deepEqual(
    kubeDns?.ports.map(({ endpoints }) => endpoints.map(({ address, node }) => `${address} ${node ?? ""}`.trim())),
    [
      ["10.244.1.2 node-1", "fd00:10:244::5"],
      ["10.244.1.5", "fd00:10:244::5"],
    ],
  );
  assert.equal(web, from.services[1]);
  const added = own.pods.at(-1);
  assert.deepEqual(added?.labels, { "k8s-app": "kube-dns", app: "dns" }, "policies know it as a DNS pod");
  assert.deepEqual([added?.name, added?.addresses, added?.hostNetwork], ["node-dns-node-1", ["10.244.1.2"], false]);

  assert.equal(source.answers(match("10.244.1.5")), true, "what is asked of the pods comes back");
  assert.equal(source.answers(match("10.244.1.9")), false);
  source.place(undefined);
  assert.equal(source.current(), from);
  assert.equal(told, 2);
  assert.equal(source.answers(match("10.244.1.2")), true, "it answers on");
  source.forget(place);
  assert.equal(source.answers(match("10.244.1.2")), false);
  assert.deepEqual(flushed, [match("10.244.1.2")]);
});
