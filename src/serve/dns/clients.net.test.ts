// Needs: dig, delv, kdig, unbound-host
// Others' resolvers read our messages, and understand the same by them: BIND's dig and delv, knot's kdig, unbound's library.
// Each question is asked twice: the second answer comes from the table of answers that were given (answers.ts), and must be the same.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { endpoint, kubeDns, network, pod, port, service } from "../../program/zone.testing.ts";
import { compileZone } from "../../program/zone.ts";
import { answerOf, startTestServer, testUpstream, testZone } from "./server.testing.ts";

const api = "api.production.svc.cluster.local";

const zone = compileZone(
  network({
    services: [
      kubeDns,
      service("production/api", {
        clusterIps: ["10.96.41.7", "fd00:10:96::29:7"],
        ports: [port("http", 80, [endpoint("10.244.1.8")])],
      }),
      service("production/db", {
        headless: true,
        ports: [port("sql", 5432, [endpoint("10.244.1.9", { hostname: "db-0" })])],
      }),
      service("production/inside", { type: "ExternalName", externalName: `${api}.` }),
      service("production/pay", { type: "ExternalName", externalName: "pay.example.com" }),
    ],
    pods: [pod("production/web", ["10.244.1.5"])],
  }),
);

/** Questions, and the data of their answers; none: there is no such data. */
const answers: readonly (readonly [string, string, readonly string[]])[] = [
  [api, "A", ["10.96.41.7"]],
  [api, "AAAA", ["fd00:10:96::29:7"]],
  [api, "SRV", [`0 100 80 ${api}.`]],
  [`_http._tcp.${api}`, "SRV", [`0 100 80 ${api}.`]],
  [api, "TXT", []],
  ["db-0.db.production.svc.cluster.local", "A", ["10.244.1.9"]],
  ["db.production.svc.cluster.local", "SRV", ["0 100 8080 db-0.db.production.svc.cluster.local."]],
  ["10-244-1-5.production.pod.cluster.local", "A", ["10.244.1.5"]],
  ["7.41.96.10.in-addr.arpa", "PTR", [`${api}.`]],
  ["8.1.244.10.in-addr.arpa", "PTR", [`10-244-1-8.${api}.`]],
  ["dns-version.cluster.local", "TXT", ['"1.1.0"']],
  ["cluster.local", "NS", ["kube-dns.kube-system.svc.cluster.local."]],
  ["cluster.local", "SOA", ["ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"]],
  ["inside.production.svc.cluster.local", "A", [`${api}.`, "10.96.41.7"]],
  ["pay.production.svc.cluster.local", "A", ["pay.example.com.", "192.0.2.1"]],
  ["example.com", "A", ["192.0.2.1"]],
];

async function withServer(run: (namespace: NetworkNamespace) => Promise<void>): Promise<void> {
  const upstream = testUpstream(({ name, type }) => ({
    answers: type === "A" ? [answerOf(name, { kind: "A", address: "192.0.2.1" })] : [],
  }));
  const server = await startTestServer({ zone: () => zone, upstream });
  try {
    await run(server.namespace);
  } finally {
    await server.close();
  }
}

/** The program's output, run inside the namespace: the kernel gives a new process the namespace of the thread that starts it. */
async function run(namespace: NetworkNamespace, program: string, words: readonly string[]): Promise<string> {
  const child = namespace.run(() => spawn(program, words));
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "close");
  return output;
}

const complaints = /WARNING(?!: .local is reserved)|malformed|FORMERR|[Ee]xtra|trailing|[Ii]nvalid|failed|\berror/;

function lines(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith(";"));
}

for (const [program, transports] of [
  ["dig", [[], ["+tcp"], ["+noedns"], ["+dnssec", "+bufsize=1232"], ["+subnet=10.0.0.0/24", "+nsid"]]],
  ["kdig", [[], ["+tcp"], ["+edns"], ["+dnssec", "+bufsize=4096"], ["+edns", "+cookie", "+alignment"]]],
] as const) {
  await test(`${program}: every kind of record, by UDP and TCP, with EDNS options`, async () => {
    await withServer(async (namespace) => {
      for (const options of transports) {
        for (let times = 0; times < 2; times++) {
          const asked = answers.flatMap(([name, type]) => [name, type, ...options, "+short"]);
          const said = await run(namespace, program, ["@127.0.0.1", ...asked]);
          assert.deepEqual(
            lines(said),
            answers.flatMap(([, , data]) => data),
            `${options.join(" ")}: ${said}`,
          );
          assert.doesNotMatch(said, complaints);
        }
      }
    });
  });
}

await test("dig and kdig: whole messages without a complaint, one too large for UDP by TCP, and no", async () => {
  const many = await startTestServer({ zone: () => testZone(100) });
  const { namespace } = many;
  try {
    for (let times = 0; times < 2; times++) {
      for (const program of ["dig", "kdig"]) {
        // 100 addresses: the client turns to TCP by itself.
        const large = await run(namespace, program, ["@127.0.0.1", "+short", "many.production.svc.cluster.local", "A"]);
        assert.equal(new Set(lines(large)).size, 100);
      }
      const full = await run(namespace, "dig", ["@127.0.0.1", "+bufsize=1232", "+dnssec", `_http._tcp.${api}`, "SRV"]);
      assert.match(full, /flags: qr aa rd ra;.*ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 2/);
      assert.doesNotMatch(full, complaints);
      const missing = await run(namespace, "kdig", ["@127.0.0.1", "+edns", "x.production.svc.cluster.local"]);
      assert.match(missing, /status: NXDOMAIN/);
      assert.match(missing, /cluster\.local\.\s+5\s+IN\s+SOA\s+ns\.dns\.cluster\.local\./);
      assert.doesNotMatch(missing, complaints);
    }
  } finally {
    await many.close();
  }
});

await test("kdig: many questions on one connection", async () => {
  await withServer(async (namespace) => {
    const asked = Array.from({ length: 3 }, () => answers.flatMap(([name, type]) => [name, type, "+short"])).flat();
    const said = await run(namespace, "kdig", ["@127.0.0.1", "+tcp", "+keepopen", ...asked]);
    assert.deepEqual(lines(said), Array.from({ length: 3 }, () => answers.flatMap(([, , data]) => data)).flat());
  });
});

await test("delv: understands every answer, and finds none of them signed", async () => {
  await withServer(async (namespace) => {
    for (const [name, type, data] of answers) {
      for (let times = 0; times < 2; times++) {
        const said = await run(namespace, "delv", ["@127.0.0.1", "-i", name, type]);
        const found = lines(said).map((line) => line.split(/\s+/).slice(4).join(" "));
        assert.deepEqual(found, data, said);
        assert.match(
          said,
          data.length === 0
            ? /resolution failed: ncache nxrrset/
            : /^; (authoritative|unsigned answer|answer not validated)$/m,
        );
      }
    }
    assert.match(
      await run(namespace, "delv", ["@127.0.0.1", "-i", "x.production.svc.cluster.local", "A"]),
      /resolution failed: ncache nxdomain/,
    );
  });
});

await test("unbound's library, forwarding to us", async () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-unbound-"));
  const conf = join(folder, "unbound.conf");
  const forward = 'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.1\n';
  // The private ranges' names are nobody's, by unbound's own list.
  const server = `server:\n  do-not-query-localhost: no\n  module-config: "iterator"\n  unblock-lan-zones: yes\n  do-ip6: no\n  chroot: ""\n`;
  writeFileSync(conf, `${server}${forward}`);
  try {
    await withServer(async (namespace) => {
      for (const [name, type, data] of answers) {
        for (let times = 0; times < 2; times++) {
          const said = await run(namespace, "unbound-host", ["-C", conf, "-v", "-t", type, name]);
          for (const each of data) assert.ok(said.includes(each.replace(/\.$/, "")), `${name} ${type}: ${said}`);
          if (data.length === 0) assert.match(said, /has no \w+ record/);
          assert.doesNotMatch(said, complaints);
        }
      }
      const missing = await run(namespace, "unbound-host", ["-C", conf, "-t", "A", "x.production.svc.cluster.local"]);
      assert.match(missing, /not found: 3\(NXDOMAIN\)/);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
