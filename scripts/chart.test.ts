// What is installed on a cluster: the plain manifests are the chart's, and an API server would take them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
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

test("what the chart says of flags and of the API server reaches the agent", () => {
  const text = renderChart({ apiServer: { host: "192.0.2.10" }, agent: { flags: ["--routing", "native"] } });
  assert.match(text, /args:\n +- agent\n +- --node=\$\(NODE_NAME\)\n +- "--routing"\n +- "native"\n/);
  assert.match(text, /name: KUBERNETES_SERVICE_HOST\n +value: "192\.0\.2\.10"\n/);
  assert.doesNotMatch(renderChart(), /KUBERNETES_SERVICE_HOST/);
});
