// The DNS server of a real cluster, from watches to answers, with an API server that says what the test wants.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createNetworkNamespace } from "../kernel/namespaces.ts";
import type { KubeObject } from "../kube/object.ts";
import { queryDns } from "../serve/dns/client.ts";
import type { ClusterClient } from "../watch/cluster/client.ts";
import { rcodeName } from "../wire/dns/message.ts";
import { formatRecordData, type RecordType } from "../wire/dns/record.ts";
import { accessOf, startClusterDns } from "./cluster-dns.ts";

const corefile = (pods: string): string => `.:53 {
    errors
    health {
        lameduck 1s
    }
    ready
    kubernetes cluster.local in-addr.arpa {
        pods ${pods}
        fallthrough in-addr.arpa
    }
    reload
}
`;

/** Resources by their plural, each with a watch of its own; the initial objects are sent when `release` is called. */
function apiServer(objects: Readonly<Record<string, readonly KubeObject[]>>): {
  readonly client: ClusterClient;
  readonly asked: string[];
  release(): void;
  send(resource: string, type: string, object: KubeObject): void;
} {
  const asked: string[] = [];
  const streams = new Map<string, (line: unknown) => void>();
  const released = Promise.withResolvers<void>();
  const client: ClusterClient = {
    access: { server: "http://test", insecure: false, user: { kind: "nobody" }, namespace: "default", from: "a test" },
    request: () => Promise.reject(new Error("not asked for")),
    async lines(path, { signal, line, opened }) {
      const resource = /([a-z]+)\?/.exec(path)?.[1] ?? "";
      asked.push(resource);
      opened?.();
      await released.promise;
      for (const object of objects[resource] ?? []) line({ type: "ADDED", object });
      const annotations = { "k8s.io/initial-events-end": "true" };
      line({ type: "BOOKMARK", object: { metadata: { name: "", resourceVersion: "10", annotations } } });
      streams.set(resource, line);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
    close: () => {},
  };
  return {
    client,
    asked,
    release: () => released.resolve(),
    send: (resource, type, object) => streams.get(resource)?.({ type, object }),
  };
}

function object(kind: string, name: string, rest: object): KubeObject {
  return {
    apiVersion: "v1",
    kind,
    metadata: { name, namespace: "shop", uid: `${kind}-${name}`, resourceVersion: "5" },
    ...rest,
  };
}

const service = (address: string, resourceVersion = "5"): KubeObject => {
  const { metadata, ...rest } = object("Service", "web", {
    spec: { type: "ClusterIP", clusterIP: address, clusterIPs: [address], ports: [{ port: 80, protocol: "TCP" }] },
  });
  return { ...rest, metadata: { ...metadata, resourceVersion } };
};

await test("SERVFAIL until all is known, then answers; changes; pods only where the Corefile shows them; a lameduck end", async () => {
  const namespace = createNetworkNamespace();
  const server = apiServer({
    namespaces: [{ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", uid: "n", resourceVersion: "1" } }],
    services: [service("10.96.0.7")],
    pods: [
      object("Pod", "web-0", {
        spec: { nodeName: "n1", containers: [{ name: "c" }] },
        status: { phase: "Running", podIP: "10.244.1.5", podIPs: [{ ip: "10.244.1.5" }] },
      }),
    ],
  });
  const log: string[] = [];
  let text = corefile("disabled");
  const dns = await startClusterDns({
    connect: async () => server.client,
    namespace,
    corefile: "/etc/coredns/Corefile",
    read: (path) => (path === "/etc/coredns/Corefile" ? text : undefined),
    list: () => [],
    env: {},
    log: (line) => log.push(line),
  });
  try {
    const ask = async (name: string, type: RecordType): Promise<string> => {
      const { rcode, answers } = await queryDns(namespace, "127.0.0.1", name, type);
      return [rcodeName(rcode), ...answers.map(({ data }) => formatRecordData(data))].join(" ");
    };
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "SERVFAIL");
    server.release();
    await dns.synced;
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "NOERROR 10.96.0.7");
    assert.equal(await ask("7.0.96.10.in-addr.arpa", "PTR"), "NOERROR web.shop.svc.cluster.local.");
    server.send("services", "MODIFIED", service("10.96.0.8", "11"));
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "NOERROR 10.96.0.8");
    assert.equal(await ask("7.0.96.10.in-addr.arpa", "PTR"), "REFUSED");
    server.send("services", "DELETED", service("10.96.0.8", "12"));
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "NXDOMAIN");
    server.send("services", "ADDED", service("10.96.0.8", "13"));
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "NOERROR 10.96.0.8");
    assert.equal(await ask("8.0.96.10.in-addr.arpa", "PTR"), "NOERROR web.shop.svc.cluster.local.");
    assert.equal(await ask("10-244-1-5.shop.pod.cluster.local", "A"), "NXDOMAIN");
    assert.deepEqual(server.asked.toSorted(), ["endpointslices", "namespaces", "services"]);

    text = corefile("verified");
    await until(() => log.some((line) => line.includes("Reloading complete")));
    assert.equal(await ask("10-244-1-5.shop.pod.cluster.local", "A"), "NOERROR 10.244.1.5");
    assert.equal(await ask("10-244-1-6.shop.pod.cluster.local", "A"), "NXDOMAIN");

    text = corefile("sometimes");
    await until(() => log.some((line) => line.includes("is not used, the old one stays in force")));
    const ended = dns.close();
    assert.equal(await ask("web.shop.svc.cluster.local", "A"), "NOERROR 10.96.0.8", "the lame duck answers");
    await ended;
    assert.match(log.join("\n"), /Going into lameduck mode for 1s/);
  } finally {
    await dns.close();
    namespace.close();
  }
});

await test("the API server that a Corefile names; one that changes, or several, are refused", async () => {
  const tls = { certificate: "/c.pem", key: "/k.pem", authority: "/ca.pem" };
  assert.deepEqual(await accessOf({ kind: "endpoint", url: "https://10.0.0.1:6443/", tls }, {}), {
    server: "https://10.0.0.1:6443",
    authority: { file: "/ca.pem" },
    insecure: false,
    user: { kind: "certificate", certificate: { file: "/c.pem" }, key: { file: "/k.pem" } },
    namespace: "default",
    from: "the Corefile's endpoint",
  });
  await assert.rejects(
    accessOf({ kind: "kubeconfig", file: "/nowhere/kube.conf", context: "a" }, {}),
    /read kubeconfig \/nowhere\/kube.conf/,
  );
  const namespace = createNetworkNamespace();
  const server = apiServer({});
  const log: string[] = [];
  const named: unknown[] = [];
  const from = (url: string): string => `.:53 {\n kubernetes cluster.local {\n  endpoint ${url}\n }\n reload 2s\n}\n`;
  let text = from("http://a:1");
  const options = {
    connect: async (each: unknown) => {
      named.push(each);
      return server.client;
    },
    namespace,
    corefile: "/Corefile",
    read: (path: string) => (path === "/Corefile" ? text : undefined),
    list: () => [],
    env: {},
    log: (line: string) => void log.push(line),
  };
  try {
    const dns = await startClusterDns(options);
    try {
      server.release();
      assert.deepEqual(named, [{ kind: "endpoint", url: "http://a:1", tls: undefined }]);
      text = from("http://b:1");
      await until(() => log.some((line) => line.includes("it names another API server than before")));
    } finally {
      await dns.close();
    }
    text = `${from("http://a:1")}\nb:54 {\n kubernetes b\n}\n`;
    await assert.rejects(startClusterDns(options), /name different API servers/);
  } finally {
    namespace.close();
  }
});

await test("a Corefile that shows no cluster needs no API server; the next one that does is followed", async () => {
  const namespace = createNetworkNamespace();
  const server = apiServer({ services: [service("10.96.0.7")] });
  server.release();
  const log: string[] = [];
  let text = ".:53 {\n hosts {\n  192.0.2.7 seven.test\n }\n reload\n}\n";
  let isThere = false;
  const dns = await startClusterDns({
    connect: async () => {
      if (!isThere) throw new Error("read kubeconfig /nowhere: ENOENT");
      return server.client;
    },
    namespace,
    corefile: "/Corefile",
    read: (path) => (path === "/Corefile" ? text : undefined),
    list: () => [],
    env: {},
    log: (line) => log.push(line),
  });
  try {
    await dns.synced;
    const ask = async (name: string): Promise<string> => {
      const { rcode, answers } = await queryDns(namespace, "127.0.0.1", name, "A");
      return [rcodeName(rcode), ...answers.map(({ data }) => formatRecordData(data))].join(" ");
    };
    assert.equal(await ask("seven.test"), "NOERROR 192.0.2.7");
    assert.doesNotMatch(log.join("\n"), /waiting for the cluster/);
    text = corefile("disabled");
    await until(() => log.some((line) => line.includes("/nowhere: ENOENT")));
    assert.equal(await ask("seven.test"), "NOERROR 192.0.2.7", "the old one stays in force");
    isThere = true;
    text = `${corefile("disabled")}# again\n`;
    await until(() => log.some((line) => line.includes("Reloading complete")));
    assert.equal(await ask("web.shop.svc.cluster.local"), "NOERROR 10.96.0.7");
  } finally {
    await dns.close();
    namespace.close();
  }
});

await test("a server that ends while it opens the way to the API server leaves nothing open, and takes its ports no more", async () => {
  const server = apiServer({});
  const { namespace, dns, opening, corefiles } = await startWithoutCluster();
  let isClosed = false;
  try {
    corefiles.text = corefile("disabled");
    await until(() => opening.length > 0);
    await dns.close();
    opening[0]?.resolve({ ...server.client, close: () => (isClosed = true) });
    await until(() => isClosed);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(server.asked, []);
    await assert.rejects(queryDns(namespace, "127.0.0.1", "seven.test", "A"));
  } finally {
    await dns.close();
    namespace.close();
  }
});

await test("Corefiles that come while the way to the API server is opened share it", async () => {
  const server = apiServer({ services: [service("10.96.0.7")] });
  server.release();
  const { namespace, dns, opening, corefiles, log } = await startWithoutCluster();
  try {
    corefiles.text = corefile("disabled");
    await until(() => opening.length > 0);
    corefiles.text = `${corefile("disabled")}# again\n`;
    const before = corefiles.reads;
    // The first look finds it, and the second one is behind what the first has begun.
    await until(() => corefiles.reads >= before + 2);
    assert.equal(opening.length, 1);
    opening[0]?.resolve(server.client);
    await until(() => log.some((line) => line.includes("Reloading complete")));
  } finally {
    await dns.close();
    namespace.close();
  }
});

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "it did not happen within 30 s");
    await new Promise((resolve) => void setTimeout(resolve, 20));
  }
}

/** A server whose Corefile shows no cluster, beside which the way to an API server is opened only when a test says so. */
async function startWithoutCluster() {
  const namespace = createNetworkNamespace();
  const opening: PromiseWithResolvers<ClusterClient>[] = [];
  const log: string[] = [];
  const corefiles = { text: ".:53 {\n hosts {\n  192.0.2.7 seven.test\n }\n reload\n}\n", reads: 0 };
  const dns = await startClusterDns({
    connect: () => {
      const way = Promise.withResolvers<ClusterClient>();
      opening.push(way);
      return way.promise;
    },
    namespace,
    corefile: "/Corefile",
    read(path) {
      if (path !== "/Corefile") return undefined;
      corefiles.reads++;
      return corefiles.text;
    },
    list: () => [],
    env: {},
    log: (line) => log.push(line),
  });
  return { namespace, dns, opening, corefiles, log };
}
