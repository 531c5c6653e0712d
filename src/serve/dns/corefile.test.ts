import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { parseSelector } from "../../kube/selector.ts";
import { parseCorefile } from "./corefile.ts";
import { CorefileError } from "./corefile-tokens.ts";

/** One server block around the lines. */
const block = (lines: string) => parseCorefile(`.:53 {\n${lines}\n}\n`).servers[0]!;

const kubeadm = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`;

await test("kubeadm's Corefile", () => {
  const { servers } = parseCorefile(kubeadm);
  assert.equal(servers.length, 1);
  const [server] = servers;
  assert.deepEqual(server?.zones, [{ name: ".", port: 53 }]);
  assert.deepEqual(server.health, { port: 8080, lameduckMs: 5000 });
  assert.deepEqual(server.kubernetes?.zones, ["cluster.local", "in-addr.arpa", "ip6.arpa"]);
  assert.equal(server.kubernetes.pods, "insecure");
  assert.equal(server.kubernetes.ttl, 30);
  assert.deepEqual(server.kubernetes.fallthrough, ["in-addr.arpa", "ip6.arpa"]);
  assert.equal(server.forwards[0]?.maxConcurrent, 1000);
  assert.deepEqual(server.forwards[0].to, [{ kind: "file", path: "/etc/resolv.conf" }]);
  assert.equal(server.cache?.success.maxSeconds, 30);
  assert.deepEqual(server.cache.denial.disabled, ["cluster.local"]);
  assert.deepEqual(server.reload, { intervalMs: 30_000 });
  assert.ok(server.loop && server.loadbalance && server.errors);
});

await test("kubernetes: which objects, and from where", () => {
  const of = (...options: string[]) => block(`kubernetes a {\n${options.join("\n")}\n}`).kubernetes;
  assert.deepEqual(of("labels app in (web, db),tier!=test")?.labels, parseSelector("app in (web, db),tier!=test"));
  assert.equal(of()?.apiServer, undefined);
  assert.deepEqual(of("kubeconfig /etc/kube.conf admin")?.apiServer, {
    kind: "kubeconfig",
    file: "/etc/kube.conf",
    context: "admin",
  });
  const tls = { certificate: "c.pem", key: "k.pem", authority: "ca.pem" };
  assert.deepEqual(of("tls c.pem k.pem ca.pem", "endpoint https://10.0.0.1:6443")?.apiServer, {
    kind: "endpoint",
    url: "https://10.0.0.1:6443",
    tls,
  });
});

await test("several server blocks, ports, stub domains, ranges as reverse zones", () => {
  const { servers } = parseCorefile(`
    example.org, dns://example.net:1053 { forward . 10.0.0.2 }
    10.96.0.0/15:54 fd00::/60 {
      bind 127.0.0.1 eth0
    }`);
  assert.deepEqual(servers[0]?.zones, [
    { name: "example.org", port: 53 },
    { name: "example.net", port: 1053 },
  ]);
  assert.deepEqual(servers[1]?.zones, [
    { name: "96.10.in-addr.arpa", port: 54 },
    { name: "97.10.in-addr.arpa", port: 54 },
    { name: "0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa".split(".").slice(-17).join("."), port: 53 },
  ]);
  assert.deepEqual(servers[1]?.bind, ["127.0.0.1", "eth0"]);
});

await test("snippets, files, the environment, comments, quotes", () => {
  const files: Record<string, string> = {
    "/etc/coredns/custom/a.override": "log # says it all\n",
    "/etc/coredns/custom/b.override": 'hosts {\n  10.1.1.1 "db.internal" # twice\n}\n',
    "/etc/coredns/custom/stub.server": "corp.example:53 {\n forward . {$CORP}\n}\n",
  };
  const { servers } = parseCorefile(
    `(common) {\n errors\n cache {\n  serve_stale\n }\n}\n.:53 {\n import common\n import custom/*.override\n import custom/*.none\n}\nimport /etc/coredns/custom/*.server\n`,
    {
      file: "/etc/coredns/Corefile",
      read: (path) => files[path],
      list: (folder) =>
        Object.keys(files)
          .filter((path) => path.startsWith(`${folder}/`))
          .map((path) => path.slice(folder.length + 1)),
      env: { CORP: "10.9.9.9" },
    },
  );
  assert.deepEqual(servers[0]?.cache?.stale, {
    seconds: 3600,
    verifyMs: undefined,
    ttl: 0,
    recheckSeconds: 0,
  });
  assert.deepEqual(servers[0].hosts?.inline, ["10.1.1.1 db.internal"]);
  assert.equal(servers[0].log?.[0]?.scope, ".");
  assert.deepEqual(servers[1]?.forwards[0]?.to, [{ kind: "server", protocol: "dns", address: "10.9.9.9", port: 53 }]);
});

await test("cache: stale answers in every way; errors and ready: what changes nothing here", () => {
  const staleOf = (words: string): unknown => block(`cache {\n serve_stale ${words}\n }`).cache?.stale;
  assert.deepEqual(staleOf("1h verify"), { seconds: 3600, verifyMs: 0, ttl: 0, recheckSeconds: 0 });
  assert.deepEqual(staleOf("1h verify 100ms 30s 10s"), { seconds: 3600, verifyMs: 100, ttl: 30, recheckSeconds: 10 });
  assert.deepEqual(staleOf("5m immediate 30s"), { seconds: 300, verifyMs: undefined, ttl: 30, recheckSeconds: 0 });
  const { errors, ready } = block("errors stdout\n ready :8282 {\n  monitor continuously\n }");
  assert.deepEqual([errors, ready], [true, { port: 8282 }]);
});

await test("forward: every kind of upstream and option", () => {
  const [forward] =
    block(`forward example.org 1.1.1.1 10.0.0.2:5353 fd00::2 [fd00::3]:54 tls://9.9.9.9%dns.quad9.net tls://1.0.0.1:8853 {
    except a.example.org b.example.org
    policy round_robin
    max_fails 3
    health_check 5s no_rec domain example.org
    force_tcp
    expire 20s
    tls /ca.pem
    next NXDOMAIN
    failover SERVFAIL REFUSED
  }`).forwards;
  assert.deepEqual(
    forward?.to.map((to) =>
      to.kind === "file" ? to.path : `${to.protocol} ${to.address} ${to.port} ${to.serverName ?? ""}`,
    ),
    [
      "dns 1.1.1.1 53 ",
      "dns 10.0.0.2 5353 ",
      "dns fd00::2 53 ",
      "dns fd00::3 54 ",
      "tls 9.9.9.9 853 dns.quad9.net",
      "tls 1.0.0.1 8853 ",
    ],
  );
  assert.deepEqual(forward?.healthCheck, { intervalMs: 5000, recursionDesired: false, domain: "example.org" });
  assert.deepEqual(
    [forward.policy, forward.maxFails, forward.transport, forward.expireMs],
    ["round_robin", 3, "tcp", 20_000],
  );
  assert.deepEqual([forward.next, forward.failover, forward.tls], [[3], [2, 5], { ca: "/ca.pem" }]);
});

await test("rewrite: each kind of match, answers back", () => {
  const [exact, prefix, suffix, substring, regex] = block(`
    rewrite name old.example.org new.example.org
    rewrite continue name prefix a b
    rewrite name suffix .schmoogle.com. .google.com. answer auto
    rewrite name substring one two
    rewrite stop {
      name regex (.*)-(us-west-1)\\.coredns\\.rocks {1}.service.{2}.consul
      answer name (.*)\\.service\\.(us-west-1)\\.consul {1}-{2}.coredns.rocks
    }`).rewrites;
  assert.equal(exact?.rename("old.example.org."), "new.example.org.");
  assert.equal(exact.rename("x.old.example.org."), undefined);
  assert.deepEqual(exact.answers, [{ kind: "back" }]);
  assert.equal(prefix?.after, "continue");
  assert.equal(prefix.rename("a.x.org."), "b.x.org.");
  assert.equal(prefix.rename("a-x.org."), undefined);
  assert.equal(suffix?.rename("www.schmoogle.com."), "www.google.com.");
  assert.equal(suffix.answers.length, 2);
  assert.equal(substring?.rename("x.one.org."), "x.two.org.");
  assert.equal(regex?.rename("ftp-us-west-1.coredns.rocks."), "ftp.service.us-west-1.consul.");
  const [back] = regex.answers;
  assert.ok(back?.kind === "replace");
  assert.equal(back.rename("ftp.service.us-west-1.consul."), "ftp-us-west-1.coredns.rocks.");
});

await test("file and transfer: zones, where they are, who gets them", () => {
  const { files, transfers, root } = block(
    "root /etc\nfile db.a a.test b.test. {\n reload 30s\n fallthrough\n upstream\n}\nfile db.c\ntransfer {\n to *\n}\n" +
      "transfer a.test {\n to 192.0.2.1 192.0.2.2:5300 2001:db8::1\n to [2001:db8::2]:5300\n source 192.0.2.3\n}",
  );
  assert.equal(root, "/etc");
  assert.deepEqual(files, [
    {
      path: "db.a",
      zones: ["a.test", "b.test"],
      reloadMs: 30_000,
      anyChange: false,
      fallthrough: ["."],
      place: { file: "Corefile", line: 3 },
    },
    {
      path: "db.c",
      zones: ["."],
      reloadMs: 60_000,
      anyChange: false,
      fallthrough: [],
      place: { file: "Corefile", line: 8 },
    },
  ]);
  assert.deepEqual(transfers, [
    { zones: ["."], toAll: true, hosts: [], source: undefined },
    {
      zones: ["a.test"],
      toAll: false,
      hosts: [
        { address: "192.0.2.1", port: 53 },
        { address: "192.0.2.2", port: 5300 },
        { address: "2001:db8::1", port: 53 },
        { address: "2001:db8::2", port: 5300 },
      ],
      source: "192.0.2.3",
    },
  ]);
});

await test("what is wrong is named, with its line", () => {
  const cases: readonly (readonly [string, number, RegExp])[] = [
    [".:53 {\n errors\n erors\n}", 3, /unknown plugin "erors"/],
    [".:53 {\n acl {\n  blok\n }\n}", 3, /acl: "blok" is none of allow, block, filter, drop/],
    [".:53 {\n acl {\n  block tip A\n }\n}", 3, /acl: "tip" is neither type nor net/],
    [".:53 {\n acl {\n  block net\n }\n}", 3, /acl: net needs a value/],
    [".:53 {\n acl {\n  block type Q net 10.0.0.0\n }\n}", 3, /acl: "Q" is no type of records/],
    [".:53 {\n acl {\n  block net 10.0.0.0/8 here\n }\n}", 3, /acl: "here" is no address and no range/],
    [".:53 {\n file\n}", 2, /file takes DBFILE \[ZONES…\]/],
    [".:53 {\n file db {\n  reload soon\n }\n}", 3, /"soon" is no duration/],
    [".:53 {\n file db {\n  zone x\n }\n}", 3, /plugin file: unknown option "zone"/],
    [".:53 {\n root\n}", 2, /root needs a value/],
    [".:53 {\n transfer {\n }\n}", 2, /transfer needs `to`/],
    [".:53 {\n transfer {\n  to db.example.org\n }\n}", 3, /"db\.example\.org" is no address, ADDRESS:PORT or \*/],
    [".:53 {\n transfer {\n  to 192.0.2.1:99999\n }\n}", 3, /"192\.0\.2\.1:99999" is no address/],
    [".:53 {\n transfer {\n  to *\n  source eth0\n }\n}", 4, /source "eth0" is no address/],
    [".:53 {\n any all\n}", 2, /any takes nothing, not "all"/],
    [".:53 {\n bufsize 100\n}", 2, /bufsize: "100" is no number from 512 to 4096/],
    [".:53 {\n cancel soon\n}", 2, /"soon" is no duration/],
    [".:53 {\n local {\n  localhost\n }\n}", 3, /plugin local: unknown option "localhost"/],
    [".:53 {\n local {\n  localhost_prefix yes\n }\n}", 3, /localhost_prefix is one of on, off, not "yes"/],
    [".:53 {\n template CH TXT\n}", 2, /template: the class is IN or ANY here, not "CH"/],
    [".:53 {\n template IN ZZ\n}", 2, /template: "ZZ" is no type of records/],
    [".:53 {\n template IN A {\n  match (\n }\n}", 3, /template: Invalid regular expression/],
    [".:53 {\n template IN A {\n  rcode NO\n }\n}", 3, /template: unknown rcode "NO"/],
    [".:53 {\n template IN A {\n  expr true\n }\n}", 3, /template: expr is not supported here/],
    [".:53 {\n template IN A {\n  ansver x\n }\n}", 3, /plugin template: unknown option "ansver"/],
    [
      '.:53 {\n template IN A {\n  answer "{{ .Meta \\"kubernetes/client-namespace\\" }} 60 IN A 10.0.0.1"\n }\n}',
      3,
      /template: \{\{ \.Meta .* is not known here; known are \.Name/,
    ],
    [".:53 {\n kubernetes cluster.local {\n  podz insecure\n }\n}", 3, /plugin kubernetes: unknown option "podz"/],
    [".:53 {\n kubernetes in-addr.arpa\n}", 2, /no reverse zone/],
    [".:53 {\n kubernetes a {\n  namespace_labels a in b\n }\n}", 3, /namespace_labels: unable to parse/],
    [".:53 {\n kubernetes a {\n  labels a in b\n }\n}", 3, /labels: unable to parse/],
    [
      ".:53 {\n kubernetes a {\n  multicluster\n }\n}",
      3,
      /multicluster is not supported here: Services of other clusters/,
    ],
    [".:53 {\n kubernetes a {\n  zonal\n }\n}", 3, /zonal is not supported here/],
    [".:53 {\n kubernetes a {\n  endpoint 10.0.0.1:6443\n }\n}", 3, /"10.0.0.1:6443" is no http or https URL/],
    [".:53 {\n kubernetes a {\n  kubeconfig a b c\n }\n}", 3, /kubeconfig takes FILE \[CONTEXT\], not also "c"/],
    [".:53 {\n kubernetes a {\n  tls a b\n }\n}", 3, /tls takes CERT KEY CACERT/],
    [".:53 {\n kubernetes a {\n  tls a b c\n }\n}", 2, /tls without endpoint/],
    [".:53 {\n cache 30 {\n  prefetch 10 1m 5%\n }\n}", 3, /10 to 90/],
    [".:53 {\n forward . https://1.1.1.1\n}", 2, /https:\/\/ is not supported/],
    [".:53 {\n forward . resolver.example\n}", 2, /neither an address/],
    [".:53 {\n errors\n", 1, /no "}"/],
    [".:53\n errors\n", 1, /has no "{"/],
    [".:53 {\n errors\n errors\n}", 3, /twice/],
    [".:53 {\n autopath @kubernetes\n}", 1, /needs the kubernetes plugin/],
    [".:53 {\n rewrite type A AAAA\n}", 2, /only names/],
    [".:53 {\n import missing\n}", 2, /no snippet/],
    ['.:53 {\n log . "{nope}"\n}', 2, /unknown field {nope}/],
    [". {\n}\n.:53 {\n}", 3, /defined twice/],
    ["", 1, /no server block/],
    ['. {\n hosts {\n 10.1.1.1 "x\n }\n}', 3, /no end/],
  ];
  for (const [text, line, message] of cases) {
    assert.throws(
      () => parseCorefile(text),
      (error) => error instanceof CorefileError && error.line === line && message.test(error.message),
      text,
    );
  }
});

await test("a snippet that imports itself ends in an error", () => {
  assert.throws(() => parseCorefile("import a", { file: "/a", read: () => "import a\nimport a\n" }), /1000 imports/);
});

await test("any text is a Corefile or an error with a line", () => {
  const words = [
    ...kubeadm.split(/\s+/),
    "{",
    "}",
    '"',
    "#",
    "\n",
    "import",
    "(a)",
    "a",
    "rewrite",
    "name",
    "regex",
    "(",
    "hosts",
    "10.0.0.1",
    "log",
    "{common}",
    "0",
    "-1",
    "1.1.1.1:99999",
    "tls://[::1]%x:1",
    "10.0.0.0/9",
    "::/0",
    "fd00::1:53",
    "..",
    "\\",
    "autopath",
    "bind",
    "2s",
    "prefetch",
  ];
  const text = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 5 })), { maxLength: 40 });
  fc.assert(
    fc.property(text, fc.constantFrom(" ", "\n", " \n"), (parts, between) => {
      for (const corefile of [parts.join(between), `.:53 {\n${parts.join(between)}\n}\n`]) {
        try {
          parseCorefile(corefile);
        } catch (error) {
          assert.ok(error instanceof CorefileError, String(error));
          assert.ok(error.line >= 1 && error.line <= corefile.split("\n").length + 1, error.message);
        }
      }
    }),
    { numRuns: 2000 },
  );
});
