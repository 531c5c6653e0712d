// How fast the kernel is spoken to: namespaces, veth pairs, routes, dumps. Run it in namespaces of its own:
//
//   unshare -Urnmpuif --map-root-user --mount-proc --kill-child -- node bench/kernel/netlink.ts

import { mustChange, type Change } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { createNetworkNamespace } from "../../src/kernel/namespaces.ts";

const namespaces = measure("200 namespaces", () => Array.from({ length: 200 }, createNetworkNamespace));
const [first] = namespaces;
if (first === undefined) throw new Error("no namespace");
measure("10,000 times into a namespace and home", () => {
  for (let i = 0; i < 10_000; i++) first.run(() => undefined);
});

const node = openKernel("bench", first);
const pairs = namespaces.slice(1).map((namespace, index): Change => ({
  kind: "create-veth",
  name: `flp${index}`,
  mtu: 1450,
  peer: { name: "eth0", namespaceFd: namespace.fd },
}));
measure("199 veth pairs into them", () => mustChange(node, pairs));
measure("1 bridge, 199 ports, all up", () =>
  mustChange(node, [
    { kind: "create-bridge", name: "cbr0", mac: "02:00:00:00:00:01", mtu: 1450 },
    { kind: "set-link", name: "cbr0", up: true },
    ...pairs.flatMap((_, index): Change[] => [
      { kind: "set-link", name: `flp${index}`, master: "cbr0", up: true },
      { kind: "set-bridge-port", name: `flp${index}`, settings: { isolated: true, learning: false } },
    ]),
  ]),
);

const routes = Array.from({ length: 2000 }, (_, index): Change => ({
  kind: "set-route",
  to: `10.${100 + (index >> 8)}.${index & 255}.0/24`,
  action: "forward",
  link: "cbr0",
  metric: 0,
  protocol: 0xf1,
}));
measure("2,000 routes set", () => mustChange(node, routes));
measure("2,000 routes set again", () => mustChange(node, routes));
const monitor = node.monitor(() => undefined);
measure("2,000 routes set while monitored", () => mustChange(node, routes));
monitor.close();
measure("2,000 routes listed", () => node.routes());
measure("200 links listed", () => node.links());
measure("2,000 routes deleted", () =>
  mustChange(
    node,
    routes.map((_, index) => ({
      kind: "delete-route",
      to: `10.${100 + (index >> 8)}.${index & 255}.0/24`,
      metric: 0,
      protocol: 0xf1,
    })),
  ),
);

node.close();
for (const namespace of namespaces) namespace.close();

function measure<T>(what: string, work: () => T): T {
  const started = performance.now();
  const result = work();
  console.log(`${(performance.now() - started).toFixed(2).padStart(9)} ms  ${what}`);
  return result;
}
