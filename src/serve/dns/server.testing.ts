// A DNS server in a namespace of its own, with an upstream that answers what the test says.

import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { endpoint, kubeDns, network, pod, port, service } from "../../program/zone.testing.ts";
import { compileZone, type Zone } from "../../program/zone.ts";
import { buildMessage, parseMessage, rcodes, type DnsMessage, type Question } from "../../wire/dns/message.ts";
import type { RecordData } from "../../wire/dns/record.ts";
import { startDnsServer, type DnsServer, type DnsServerOptions } from "./server.ts";

export interface TestServer {
  readonly namespace: NetworkNamespace;
  readonly server: DnsServer;
  readonly log: readonly string[];
  close(): Promise<void>;
}

/** Starts a server on the usual ports of a fresh namespace. Close it in `finally`. */
export async function startTestServer(options: Partial<DnsServerOptions> = {}): Promise<TestServer> {
  const namespace = options.namespace ?? createNetworkNamespace();
  const log: string[] = [];
  const zone = testZone();
  const server = await startDnsServer({
    namespace,
    zone: () => zone,
    upstream: undefined,
    domain: "cluster.local",
    log: (line) => log.push(line),
    ...options,
  });
  return {
    namespace,
    server,
    log,
    async close() {
      await server.close();
      namespace.close();
    },
  };
}

/** Service production/api (10.96.41.7), headless production/many with `manyCount` endpoints, ExternalName production/pay. */
export function testZone(manyCount: number = 3): Zone {
  const many = Array.from({ length: manyCount }, (_, i) => endpoint(`10.244.${i >> 8}.${i & 255}`));
  return compileZone(
    network({
      services: [
        kubeDns,
        service("production/api", { clusterIps: ["10.96.41.7"], ports: [port("http", 80)] }),
        service("production/many", { headless: true, ports: [port("http", 8080, many)] }),
        service("production/pay", { type: "ExternalName", externalName: "pay.example.com" }),
      ],
      pods: [pod("production/web", ["10.244.1.5"])],
    }),
  );
}

/** An upstream by a function from question to records; what it gives undefined for fails. Counts what it was asked. */
export function testUpstream(answer: (question: Question) => Partial<DnsMessage> | undefined): {
  readonly name: string;
  readonly asked: string[];
  resolve(query: Uint8Array): Promise<Uint8Array>;
} {
  const asked: string[] = [];
  return {
    name: "the test's upstream",
    asked,
    async resolve(bytes) {
      const query = parseMessage(bytes);
      const [question] = query.questions;
      if (question === undefined) throw new Error("no question");
      asked.push(`${question.name} ${question.type}`);
      const response = answer(question);
      if (response === undefined) throw new Error("nobody there");
      return buildMessage({ ...query, response: true, recursionAvailable: true, rcode: rcodes.NOERROR, ...response });
    },
  };
}

/** One record of an upstream's response. */
export function answerOf(name: string, data: RecordData, ttl: number = 300): DnsMessage["answers"][number] {
  return { name, class: 1, ttl, data };
}
