// The same requests to Fairlead's API server and to the real one: what is filled in, refused, warned of, kept and changed is the same.
// A difference that stays is listed with its reason; one that is gone must leave the list.
//
//   npm run test:cluster -- api
//   FAIRLEAD_COMPARE=services …        only cases whose name has the word
//   FAIRLEAD_COMPARE_MESSAGES=1 …      the words of messages, too

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { after, before, test } from "node:test";

import { startFairlead, startPeer, type RunningServer } from "../../bench/api/parts/servers.ts";
import { clientOf, compare, prepare, type Client } from "./api/compare.testing.ts";
import { compareExchange, exchangeClient, type ExchangeClient } from "./api/exchange.testing.ts";
import { customs } from "./api/custom-exchanges.testing.ts";
import { patches } from "./api/patch-exchanges.testing.ts";
import { lists, watches } from "./api/read-exchanges.testing.ts";
import { shapes } from "./api/shape-exchanges.testing.ts";
import { deletions, writes } from "./api/write-exchanges.testing.ts";
import { known, type Known } from "./api/differences.testing.ts";
import { cases as admission } from "./api/admission-cases.testing.ts";
import { cases as certificates } from "./api/certificate-cases.testing.ts";
import { cases as cluster } from "./api/cluster-cases.testing.ts";
import { cases as network } from "./api/network-cases.testing.ts";
import { cases as podParts } from "./api/pod-parts-cases.testing.ts";
import { cases as pods } from "./api/pods-cases.testing.ts";
import { cases as services } from "./api/services-cases.testing.ts";
import { cases as workloads } from "./api/workloads-cases.testing.ts";
import { etcdProgram, peer } from "./peers.testing.ts";

const word = process.env["FAIRLEAD_COMPARE"] ?? "";
const servers: RunningServer[] = [];
const clients: Client[] = [];
const exchangeClients: ExchangeClient[] = [];

before(async () => {
  // A namespace of its own has a loopback that is down.
  execFileSync("ip", ["link", "set", "lo", "up"]);
  for (const start of [startFairlead, () => startPeer({ etcd: etcdProgram(), apiserver: peer("kube-apiserver") })]) {
    const server = await start();
    servers.push(server);
    const { certificate, key } = server.certificates.admin;
    clients.push(clientOf({ port: server.port, certificate, key }));
    exchangeClients.push(exchangeClient({ port: server.port, certificate, key }));
  }
  for (const client of clients) await prepare(client);
});

after(async () => {
  for (const client of [...clients, ...exchangeClients]) client.close();
  for (const server of servers) await server.stop();
});

const exchanges = [...deletions, ...lists, ...watches, ...patches, ...writes, ...shapes, ...customs];

/** Differences that have been seen. */
const seen = new Set<Known>();
const parts = { services, network, pods, podParts, workloads, cluster, certificates, admission };

for (const [part, cases] of Object.entries(parts)) {
  void test(`${part}: both servers answer alike`, async () => {
    const found: { [step: string]: readonly string[] } = {};
    for (const each of cases.filter(({ name }) => name.includes(word)))
      for (const { step, lines } of await compare(each, clients[0] as Client, clients[1] as Client)) {
        const unknown = lines.filter((line) => !isKnown(step, line));
        if (unknown.length > 0) found[step] = unknown;
      }
    assert.deepEqual(found, {});
  });
}

void test("protocol: both servers answer alike, whatever is sent one after the other", async () => {
  const found: { [step: string]: readonly string[] } = {};
  for (const [index, exchange] of exchanges.entries()) {
    if (!exchange[0].includes(word)) continue;
    // Nobody removes what an exchange leaves: no controllers run.
    const own = `exchange-${index}`;
    for (const client of clients) await prepare(client, own);
    const [ours, real] = exchangeClients as [ExchangeClient, ExchangeClient];
    for (const [step, lines] of Object.entries(await compareExchange(exchange, own, ours, real))) {
      const unknown = lines.filter((line) => !isKnown(step, line));
      if (unknown.length > 0) found[step] = unknown;
    }
  }
  assert.deepEqual(found, {});
});

void test("every difference that is listed is there", { skip: word !== "" && "only some cases were sent" }, () => {
  assert.deepEqual(
    known.filter((each) => !seen.has(each)),
    [],
  );
});

function isKnown(step: string, line: string): boolean {
  const found = known.find((each) => step.startsWith(each.step) && line.includes(each.line));
  if (found !== undefined) seen.add(found);
  return found !== undefined;
}
