import assert from "node:assert/strict";
import { request } from "node:http";
import { Socket } from "node:net";
import { after, before, test } from "node:test";

import { familyOf } from "../../ip/address.ts";
import { mustChange } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../kernel/sockets.ts";
import type { Endpoint, Network, NetworkNode, NetworkService } from "../../model/network.ts";
import { endpoint, network, port, service } from "../../program/zone.testing.ts";
import { startProxyHealth, type ProxyHealth } from "./health.ts";
import { createProxyRecord } from "./metrics.ts";

const [four, six] = ["192.0.2.11", "2001:db8::11"] as const;
const self: NetworkNode = {
  name: "node-1",
  labels: {},
  addresses: [four, six],
  podCidrs: [],
  ready: true,
  origin: { kind: "Node", name: "node-1" },
};
const checkPort = 31_000;

let namespace: NetworkNamespace;
let today: Network;
let health: ProxyHealth;
let isEligible = true;
const reported: string[] = [];
const record = createProxyRecord();

before(() => {
  namespace = createNetworkNamespace();
  const kernel = openKernel("node-1", namespace);
  mustChange(kernel, [
    { kind: "set-address", link: "lo", address: four, bits: 32 },
    { kind: "set-address", link: "lo", address: six, bits: 128 },
    { kind: "set-address", link: "lo", address: "192.0.2.99", bits: 32 },
  ]);
  kernel.close();
  today = networkWith([]);
  health = startProxyHealth({
    namespace,
    node: "node-1",
    network: () => today,
    record,
    isEligible: () => isEligible,
    report: (line) => reported.push(line),
    retryMs: 20,
  });
});

after(() => {
  health.close();
  namespace.close();
});

void test("a Service's health check answers at the addresses of node ports, each family for its own endpoints", async () => {
  const local = (address: string, parts: Partial<Endpoint> = {}): Endpoint =>
    endpoint(address, { node: "node-1", ...parts });
  show([
    local("fd00::5"),
    local("fd00::6", { ready: false, terminating: true }),
    endpoint("10.0.0.9", { node: "node-2" }),
  ]);
  assert.deepEqual(await ask(four, checkPort), { status: 503, endpoints: 0 });
  assert.deepEqual(await ask(six, checkPort), { status: 200, endpoints: 1 });
  for (const address of ["127.0.0.1", "192.0.2.99"])
    assert.equal(await ask(address, checkPort), "ECONNREFUSED", address);

  show([local("10.0.0.5"), local("10.0.0.6")]);
  assert.deepEqual(await ask(four, checkPort), { status: 200, endpoints: 2 });
  assert.deepEqual(await ask(six, checkPort), { status: 503, endpoints: 0 });

  show([local("10.0.0.5"), local("fd00::5")], {}, { clusterIps: ["10.96.0.20"] });
  assert.deepEqual(
    [(await ask(four, checkPort)) !== "ECONNREFUSED", await ask(six, checkPort)],
    [true, "ECONNREFUSED"],
  );

  show([], { addresses: [six], nodePortAddresses: ["192.0.2.99"] });
  assert.equal(await ask(six, checkPort), "ECONNREFUSED");
  assert.deepEqual(await ask("192.0.2.99", checkPort), { status: 503, endpoints: 0 });

  today = networkWith([]);
  health.update();
  assert.equal(await ask("192.0.2.99", checkPort), "ECONNREFUSED");
});

void test("an address that comes later than the Service is answered at when it is there", async () => {
  const late = "192.0.2.77";
  show([], { nodePortAddresses: [late] });
  assert.deepEqual(reported.splice(0).length, 1);
  assert.equal(await ask("192.0.2.99", checkPort), "ECONNREFUSED");
  const kernel = openKernel("node-1", namespace);
  mustChange(kernel, [{ kind: "set-address", link: "lo", address: late, bits: 32 }]);
  kernel.close();
  let answer = await ask(late, checkPort);
  while (answer === "ECONNREFUSED") answer = await ask(late, checkPort);
  assert.deepEqual([answer, reported], [{ status: 503, endpoints: 0 }, []]);
});

void test("the node's own health, as kube-proxy tells it", async () => {
  record.synced(1, 0, Date.now());
  const { status, ...healthz } = (await answerOf(four, 10_256, "/healthz")).body as Record<string, unknown>;
  assert.deepEqual(Object.keys(healthz), ["lastUpdated", "currentTime", "nodeEligible", "healthy"]);
  assert.deepEqual(Object.keys(status as object), ["IPv4", "IPv6"]);
  isEligible = false;
  assert.equal((await answerOf(four, 10_256, "/healthz")).status, 503);
  const livez = await answerOf(four, 10_256, "/livez");
  assert.deepEqual([livez.status, (livez.body as Record<string, unknown>)["healthy"]], [200, true]);
  assert.deepEqual(await answerOf("127.0.0.1", 10_249, "/healthz"), { status: 200, body: "ok", length: "2" });
});

function networkWith(services: Network["services"], node: Partial<NetworkNode> = {}): Network {
  return { ...network({ services: [...services] }), nodes: [{ ...self, ...node }] };
}

/** A Service with these endpoints, at this node, is what there is from now on. */
function show(
  endpoints: readonly Endpoint[],
  node: Partial<NetworkNode> = {},
  more: Partial<NetworkService> = {},
): void {
  const web = service("default/web", {
    clusterIps: ["10.96.0.20", "fd00:10:96::20"],
    externalTrafficPolicy: "Local",
    healthCheckNodePort: checkPort,
    ports: [port("http", 80, endpoints)],
    ...more,
  });
  today = networkWith([web], node);
  health.update();
}

async function ask(
  address: string,
  at: number,
): Promise<{ readonly status: number | undefined; readonly endpoints: number } | string> {
  try {
    const { status, body } = await answerOf(address, at, "/");
    return { status, endpoints: (body as { readonly localEndpoints: number }).localEndpoints };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function answerOf(
  host: string,
  at: number,
  path: string,
): Promise<{ readonly status: number | undefined; readonly body: unknown; readonly length: string | undefined }> {
  return new Promise((resolve, reject) => {
    const asking = request(
      {
        host,
        port: at,
        path,
        createConnection: () => new Socket({ fd: tcpSocketFd(namespace, familyOf(host)) }).connect({ host, port: at }),
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => {
          const isJson = response.headers["content-type"] === "application/json";
          const body: unknown = isJson ? JSON.parse(text) : text;
          resolve({ status: response.statusCode, body, length: response.headers["content-length"] });
        });
      },
    );
    asking.on("error", reject);
    asking.end();
  });
}
