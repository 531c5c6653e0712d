// Random clusters, random questions: this server and the real CoreDNS give the same answers, but for the differences that
// src/serve/dns/README.md explains; each of those is told apart here by a rule of its own, and anything else fails.
//
//   FAIRLEAD_LONG=1 npm test -- test/dns        100,000 questions

import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import { rcodeName, type DnsMessage } from "../../src/wire/dns/message.ts";
import { formatRecordData, recordTypeName, typeOfData } from "../../src/wire/dns/record.ts";
import { withLabs } from "../lab/lab.testing.ts";
import {
  fixedNames,
  generator,
  randomCluster,
  randomQuestion,
  type Question,
  type Random,
} from "./random-cluster.testing.ts";
import {
  corednsMissing,
  createClient,
  freePorts,
  startCoredns,
  startOwn,
  zoneOfLab,
  type TestClient,
} from "./coredns.testing.ts";

const isLong = process.env["FAIRLEAD_LONG"] === "1";
const rounds = isLong ? 10 : 2;
const questionsARound = isLong ? 10_000 : 2000;

/** The kubernetes plugin, with other options than the one above it, is asked about the same clusters. */
const variants: readonly { readonly options: readonly string[]; readonly zones?: string }[] = [
  { options: ["pods verified", "ttl 5"] },
  { options: ["pods insecure", "ttl 30"] },
  { options: ["pods disabled", "ttl 0"] },
  { options: ["pods verified", "endpoint_pod_names"] },
  { options: ["pods verified", "noendpoints"] },
  { options: ["pods verified", "ignore empty_service"] },
  { options: ["pods verified", "namespaces default r0-a"] },
  { options: ["pods verified", "labels tier=front"] },
  { options: ["pods insecure", "fallthrough"] },
  { options: ["pods verified"], zones: "cluster.local" },
  { options: ["pods verified"], zones: "cluster.local k8s.example.org in-addr.arpa" },
  { options: ["namespaces default r0-a"], zones: "cluster.local 10.96.0.0/24 10.244.0.0/16" },
];
const questionsOfVariant = isLong ? 1000 : 300;

await test("the real CoreDNS gives the same answers", { skip: corednsMissing }, async (context) => {
  await withLabs(async (lab) => {
    const up = lab.fairlead("up", "--name", "dns", "--nodes", "1");
    assert.equal(up.status, 0, up.stderr);
    const kubeconfig = join(lab.home, "dns", "kubeconfig");
    let zone = await zoneOfLab(kubeconfig);
    const findings: Findings = { differences: [], explained: new Map() };
    const random = generator(4711);
    const names: string[] = Object.values(fixedNames);
    let last = "kubernetes.default.svc.cluster.local";
    const apply = async (round: number): Promise<void> => {
      const state = randomCluster(generator(round + 1), round);
      const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: state.objects });
      const applied = lab.fairlead("apply", "--name", "dns", "-f", lab.file(`round-${round}.json`, list));
      assert.equal(applied.status, 0, applied.stderr);
      zone = await zoneOfLab(kubeconfig);
      names.push(...state.names);
      last = state.last;
    };
    const withVariant = async (
      { options, zones = "cluster.local in-addr.arpa ip6.arpa" }: (typeof variants)[number],
      run: (clients: Record<"own" | "coredns", TestClient>) => Promise<void>,
    ): Promise<void> => {
      const [corePort = 0, ownPort = 0] = await freePorts(2);
      const corefile = (port: number, first: string): string =>
        `.:${port} {\n  bind 127.0.0.1\n  kubernetes ${zones} {\n    ${[first, ...options].join("\n    ")}\n  }\n}\n`;
      const own = await startOwn(corefile(ownPort, ""), () => zone);
      const coredns = await startCoredns(lab, corefile(corePort, `kubeconfig ${kubeconfig}`), corePort, [
        "kubernetes.default.svc.cluster.local",
        last,
      ]);
      const clients = { own: createClient(ownPort), coredns: createClient(corePort) };
      try {
        await run(clients);
      } finally {
        clients.own.close();
        clients.coredns.close();
        await own.close();
        await coredns.stop();
      }
    };

    await withVariant(variants[0] as (typeof variants)[0], async (clients) => {
      for (let round = 0; round < rounds; round++) {
        await apply(round);
        // CoreDNS has seen everything when it has seen the last; a missing name it would answer from the same memory.
        while ((await clients.coredns.ask(last, "A").catch(() => undefined))?.rcode !== 0);
        await compareMany(clients, random, names, questionsARound, findings, false);
      }
    });
    for (const variant of variants.slice(1))
      await withVariant(variant, async (clients) => {
        const own: Findings = { differences: [], explained: findings.explained };
        const inZone = (variant.zones ?? "").includes("k8s.example.org")
          ? names.concat(names.map((name) => name.replace(/cluster\.local$/, "k8s.example.org")))
          : names;
        await compareMany(clients, random, inZone, questionsOfVariant, own, variant.options.includes("fallthrough"));
        findings.differences.push(
          ...own.differences.map((each) => `${variant.options.join(", ")} ${variant.zones ?? ""}: ${each}`),
        );
      });
    const { differences, explained } = findings;
    context.diagnostic(
      `${rounds * questionsARound + (variants.length - 1) * questionsOfVariant} questions; ${[...explained].map(([reason, count]) => `${count}× ${reason}`).join("; ")}`,
    );
    assert.equal(
      differences.length,
      0,
      `${differences.length} differences:\n  ${differences.slice(0, 40).join("\n  ")}`,
    );
  });
});

interface Findings {
  readonly differences: string[];
  readonly explained: Map<string, number>;
}

async function compareMany(
  clients: Record<"own" | "coredns", TestClient>,
  random: Random,
  names: readonly string[],
  count: number,
  { differences, explained }: Findings,
  falls: boolean,
): Promise<void> {
  for (let i = 0; i < count; i += 100) {
    const questions = Array.from({ length: Math.min(100, count - i) }, () => randomQuestion(random, names));
    const pairs = await Promise.all(questions.map(async (question) => await askBoth(clients, question)));
    for (const [index, [ours, theirs]] of pairs.entries()) {
      const question = questions[index] as Question;
      const [a, b] = [essence(ours), essence(theirs)];
      if (a === b) continue;
      const reason = explanation(question, ours, theirs, falls);
      if (reason === undefined)
        differences.push(`${question.name} ${question.type}\n    ours    ${a}\n    CoreDNS ${b}`);
      else explained.set(reason, (explained.get(reason) ?? 0) + 1);
    }
  }
}

async function askBoth(
  clients: Record<"own" | "coredns", TestClient>,
  { name, type, edns }: Question,
): Promise<[DnsMessage, DnsMessage]> {
  return await Promise.all([clients.own.ask(name, type, edns), clients.coredns.ask(name, type, edns)]);
}

/** What a client can tell: rcode, flags, the answers and what comes beside them, in no order. */
function essence(message: DnsMessage): string {
  const text = (records: DnsMessage["answers"]): string =>
    [
      ...new Set(
        records.map(
          ({ name, ttl, data }) => `${name.toLowerCase()} ${ttl} ${recordTypeName(typeOfData(data))} ${dataOf(data)}`,
        ),
      ),
    ]
      .toSorted()
      .join(", ");
  const flags = [message.authoritative ? "aa" : "", message.truncated ? "tc" : ""]
    .filter((flag) => flag !== "")
    .join(" ");
  return `${rcodeName(message.rcode)} ${flags} [${text(message.answers)}] {${text(message.authority)}} (${text(message.additional)})`;
}

// Names inside records may be in the question's case: that is nobody's business. A serial tells when the server last changed: not comparable.
function dataOf(data: DnsMessage["answers"][number]["data"]): string {
  return formatRecordData(data.kind === "SOA" ? { ...data, serial: 0 } : data).toLowerCase();
}

/** The differences that src/serve/dns/README.md explains, each as narrow as it can be told. */
function explanation(
  { name, type }: Question,
  ours: DnsMessage,
  theirs: DnsMessage,
  falls: boolean,
): string | undefined {
  // Either domain is the cluster's.
  const lower = name.toLowerCase().replace(/k8s\.example\.org$/, "cluster.local");
  const sameRcode = ours.rcode === theirs.rcode;
  const nothing = (message: DnsMessage): boolean => message.answers.length === 0;
  if (sameRcode && ours.truncated && theirs.truncated) return "other records left out of a cut answer";
  const labels = lower.split(".").length;
  if ((lower.endsWith(".ip6.arpa") && labels > 34) || (lower.endsWith(".in-addr.arpa") && labels > 6))
    return "no address has so many labels";
  if (lower.endsWith(".arpa") && nothing(ours) && nothing(theirs) && ours.rcode === 0 && theirs.rcode === 3)
    return "an address's name, or part of one, exists for every type";
  if (falls && lower.endsWith(".arpa") && sameRcode && nothing(ours) && nothing(theirs))
    return "SOA of the range's own reverse zone, where others' addresses are others'";
  if (type === "SOA" && nothing(ours) && nothing(theirs) && ours.rcode === 3 && theirs.rcode === 0)
    return "SOA of a name that is not there: NXDOMAIN here";
  const inBetween =
    /^((_(tcp|udp)\..*\.svc|([^.]+\.)?svc|([^.]+\.)?pod|dns|ns\.dns|dns-version)\.)?cluster\.local$/.test(lower);
  if (theirs.rcode === 2 && ours.rcode === 5 && (falls || !lower.endsWith("cluster.local")))
    return "REFUSED where nobody can be asked";
  if (falls && theirs.rcode === 2 && nothing(ours) && lower.endsWith(".arpa"))
    return "reverse names inside the cluster's own ranges are asked of nobody else";
  if (falls && theirs.rcode === 2 && nothing(ours) && ours.rcode === 0 && inBetween)
    return "a name with longer names below it exists here";
  if (falls && type === "SOA" && nothing(theirs) && theirs.rcode === 0 && ours.rcode === 5)
    return "SOA of a name that is not there: the next plugin's here";
  if (labels === 5 && lower.endsWith(".pod.cluster.local") && type === "SRV" && nothing(ours) && sameRcode)
    return "SRV of a pod's name";
  if (labels > 5 && lower.endsWith(".pod.cluster.local") && ours.rcode === 3 && theirs.rcode === 0)
    return "no pod has a name below its address";
  if ((lower === "cluster.local" && type === "NS") || lower === "ns.dns.cluster.local")
    return "CoreDNS knows its Service only as a pod of it";
  if (inBetween && nothing(ours) && nothing(theirs) && ours.rcode === 0 && theirs.rcode === 3)
    return "a name with longer names below it exists here";
  if (
    /^_[a-z0-9]+\._(tcp|udp)\./.test(lower) &&
    (type === "A" || type === "AAAA") &&
    nothing(ours) &&
    theirs.rcode === 0
  )
    return "addresses under a port's name";
  if (lower === "dns-version.cluster.local" && type === "TXT" && sameRcode) return "TTL of the version";
  const unweighted = (message: DnsMessage): string => essence(message).replaceAll(/ SRV 0 \d+ /g, " SRV 0 - ");
  const targets = (message: DnsMessage): string => unweighted({ ...message, additional: [], truncated: false });
  if (type === "SRV" && theirs.truncated && !ours.truncated && targets(ours) === targets(theirs))
    return "additional records that do not fit are left out without TC";
  if (type === "SRV" && unweighted(ours) === unweighted(theirs)) return "weights count a target once";
  const alias = ours.answers[0]?.data.kind === "CNAME";
  if (alias && nothing(theirs)) return "a CNAME is told for every type, also where its target has no such data";
  const ofEndpoint = lower.split(".").length === 6 && !lower.startsWith("_") && lower.endsWith(".svc.cluster.local");
  if (ofEndpoint && type === "SRV" && nothing(ours) && sameRcode && !nothing(theirs))
    return "SRV of an endpoint's name";
  return undefined;
}
