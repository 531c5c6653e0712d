// docs/policies.md shows what the compiler makes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { buildNetwork } from "../../src/model/build.ts";
import { node, objects } from "../../src/model/objects.testing.ts";
import { compile } from "../../src/program/compile.ts";
import { formatTable } from "../../src/program/nftables/format.ts";
import { cluster, policy } from "./worlds.testing.ts";

const page = readFileSync(new URL("../../docs/policies.md", import.meta.url), "utf8");

void test("the chains of egress", () => {
  const network = buildNetwork(
    cluster,
    objects({ nodes: [node(1)], networkPolicies: [policy("p", "default", { podSelector: {} })] }),
  );
  const table = compile(network, "node-1", []).tables.find(({ family }) => family === "ip") ?? assert.fail("no table");
  const names = [
    "policy-egress",
    "policy-egress-node",
    "tiers-egress",
    "ends-egress",
    "cluster-list",
    "cluster-decide",
    "judge-egress",
    "allowed-egress",
    "denied-egress",
    "policy-accepted",
    "policy-dropped",
  ];
  for (const name of names) {
    const chains = table.chains.filter((chain) => chain.name === name);
    const text = formatTable({ ...table, chains });
    const shown = text
      .slice(text.indexOf(`\tchain ${name} {`))
      .replace(/ comment "[^"]*"$/gm, "")
      .replace(/^\t\tcomment .*\n/gm, "")
      .split("\n")
      .slice(0, -2)
      .filter((line) => line !== "" && line !== "}")
      .map((line) => `    ${line.slice(1).replaceAll("\t", "    ")}`)
      .join("\n");
    assert.ok(page.includes(shown), `docs/policies.md does not show chain ${name} as it is:\n${shown}`);
  }
});

void test("every command is one of ours, every file it names is there", () => {
  const files = [...page.matchAll(/`((?:test|bench|src)\/[\w./-]+)`/g)].map(([, file]) => file ?? "");
  for (const file of files) readFileSync(new URL(`../../${file}`, import.meta.url));
  const main = readFileSync(new URL("../../src/cli/main.ts", import.meta.url), "utf8");
  for (const [, command = ""] of page.matchAll(/^ {4}fairlead (\w+)/gm))
    assert.ok(main.includes(`.command("${command}")`), command);
});
