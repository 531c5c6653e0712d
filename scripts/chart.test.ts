// What is installed on a cluster: the plain manifests are the chart's, and an API server would take them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { defaultCorefileText } from "../src/serve/dns/default-corefile.ts";
import { parseManifests } from "../src/watch/manifests.ts";
import { plainManifests, renderChart, renderPlain } from "./chart.ts";

test("deploy/fairlead.yaml is the chart's (else: node scripts/chart.ts)", () => {
  assert.equal(readFileSync(plainManifests, "utf8"), renderPlain());
});

test("every object passes the API's validation, whatever the values", () => {
  for (const values of [
    {},
    { dns: { enabled: false } },
    { apiServer: { host: "192.0.2.10" }, agent: { flags: ["--routing", "native"] } },
    { agent: { servicesOnly: true } },
  ]) {
    const { objects, problems } = parseManifests(renderChart(values), "fairlead.yaml");
    assert.deepEqual(problems, []);
    assert.ok(objects.some(({ kind, metadata }) => kind === "DaemonSet" && metadata.name === "fairlead-agent"));
    assert.equal(
      objects.some(({ metadata }) => metadata.name === "kube-dns"),
      !("dns" in values),
    );
  }
});

test("what runs in a pod runs as bin/fairlead starts it: the image's own entry point, with the memory flags of the command", () => {
  const launcher = readFileSync("bin/fairlead", "utf8");
  const [, agent] = /"\$1" != agent \] \|\| memory="([^"]+)"/.exec(launcher) ?? [];
  const [, dns] = /"\$1" = dns \][^\n]*\n\s*memory="([^"]+)"/.exec(launcher) ?? [];
  assert.ok(agent !== undefined && dns !== undefined);
  const docker = JSON.parse(
    /^ENTRYPOINT (.*)$/m.exec(readFileSync("deploy/Dockerfile", "utf8"))?.[1] ?? "",
  ) as readonly string[];
  const [node = "", ...words] = docker;
  const { objects } = parseManifests(renderChart(), "fairlead.yaml");
  const containers = objects.flatMap(
    ({ spec }) =>
      (spec as { template?: { spec?: { containers?: readonly Container[] } } } | undefined)?.template?.spec
        ?.containers ?? [],
  );
  const flags = { agent, dns } as const;
  assert.deepEqual(
    containers.map(({ command, args: [first] }) => [first, command]),
    (["agent", "dns"] as const).map((name) => [name, [node, ...flags[name].split(" "), ...words]]),
  );
  assert.match(launcher, /MALLOC_ARENA_MAX:-1/);
  assert.match(renderChart(), /name: MALLOC_ARENA_MAX\n +value: "1"\n/);
});

test("with agent.servicesOnly it sees no pods and none of the plugins' folders", () => {
  const theirs = /--only=services|\[namespaces, pods\]|networkpolicies|\/opt\/cni\/bin|\/run\/netns/g;
  const words = (servicesOnly: boolean): readonly string[] => [
    ...new Set(renderChart({ agent: { servicesOnly }, dns: { enabled: false } }).match(theirs)),
  ];
  assert.deepEqual(words(true), ["--only=services"]);
  assert.deepEqual(words(false).toSorted(), ["/opt/cni/bin", "/run/netns", "[namespaces, pods]", "networkpolicies"]);
});

interface Container {
  readonly command: readonly string[];
  readonly args: readonly [string, ...string[]];
}

test("what the chart says of flags and of the API server reaches the agent", () => {
  const text = renderChart({ apiServer: { host: "192.0.2.10" }, agent: { flags: ["--routing", "native"] } });
  assert.match(text, /args:\n +- agent\n +- --node=\$\(NODE_NAME\)\n +- "--routing"\n +- "native"\n/);
  assert.match(text, /name: KUBERNETES_SERVICE_HOST\n +value: "192\.0\.2\.10"\n/);
  assert.doesNotMatch(renderChart(), /KUBERNETES_SERVICE_HOST/);
});

test("the Corefile is the one that labs begin with", () => {
  const { objects } = parseManifests(renderChart({ dns: { clusterDomain: "k8s.example" } }), "fairlead.yaml");
  const map = objects.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === "coredns");
  assert.deepEqual(map?.["data"], { Corefile: defaultCorefileText("k8s.example") });
});
