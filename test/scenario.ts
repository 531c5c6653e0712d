// Runs a scenario: a short script over manifests, from YAML to program text, DNS answers and traces, on the real parts of the product
// (store, controllers, model, programs, tracer) with pretend kubelets. The script's verbs are the command line's verbs.
//
//   families ipv4|ipv6     the cluster's families, as the first line; both unless given
//   apply FILE…            manifests of the archive
//   delete KIND NAMESPACE/NAME
//   ready POD, unready POD   what the pod's readiness probe says
//   trace FROM TO          the minimal trace
//   explain FROM TO        the summary for people, addresses and all
//   dns POD NAME TYPE      what the cluster's DNS answers to the name as the pod's resolver asks it
//   program NODE PART      the node's Program with names for addresses: services, routes, guard …
//   problems               what the Network has to complain about
//   fails VERB …           the verb must be refused; its message is the output
//   cmp stdout FILE        the last output equals the archive's file (UPDATE=1 rewrites the archive)

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadManifests } from "../src/cli/manifests.ts";
import { originText } from "../src/trace/render.ts";
import { renderMinimal, renderSummary } from "../src/trace/render.ts";
import { trace } from "../src/trace/query.ts";
import { resolveName } from "../src/trace/names.ts";
import { findPod } from "../src/trace/query.ts";
import { imagine, type ImaginedLab } from "../src/lab/imagine.ts";
import { formatProgramPart } from "../src/program/format.ts";
import { findResource } from "../src/kube/resources.ts";
import type { KubeObject } from "../src/kube/object.ts";
import type { Archive } from "./txtar.ts";

export interface ScenarioResult {
  /** What each `cmp stdout FILE` saw, by file. */
  readonly outputs: ReadonlyMap<string, string>;
  /** All Programs of the end, in words: equal ends are equal texts. */
  readonly end: string;
}

/** How manifests are brought: as written, or in ways that must end the same. */
export type Variant = "as written" | "reversed" | "duplicated" | "one by one";

/** Runs the script. Throws where a verb fails that should not, naming the line. */
export async function runScenario(archive: Archive, variant: Variant): Promise<ScenarioResult> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-scenario-"));
  for (const [name, text] of archive.files) if (/\.(ya?ml|json)$/.test(name)) writeFileSync(join(folder, name), text);
  const families = /^families (ipv[46])$/m.exec(archive.comment)?.[1];
  const lab = await imagine({ nodes: 3, ...(families && { families: [families === "ipv4" ? 4 : 6] }) });
  const outputs = new Map<string, string>();
  let stdout = "";
  try {
    for (const [index, raw] of archive.comment.split("\n").entries()) {
      const line = raw.replace(/#.*/, "").trim();
      if (line === "") continue;
      const [verb = "", ...rest] = line.split(/\s+/);
      try {
        if (verb === "families") continue;
        if (verb === "cmp") outputs.set(rest[1] ?? "", stdout);
        else stdout = stable(await runVerb(lab, folder, variant, verb, rest), folder);
      } catch (error) {
        throw new Error(`line ${index + 1}: ${line}: ${(error as Error).message}`, { cause: error });
      }
    }
    return { outputs, end: stable(await endOf(lab), folder) };
  } finally {
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Names that are made up, and the places in lists that follow from them, are no part of what a scenario says. */
function stable(text: string, folder: string): string {
  return text
    .replaceAll(`${folder}/`, "")
    .replaceAll(/(EndpointSlice \S+)-[a-z0-9]{5} endpoints\[\d+\]/g, "$1-* endpoints[*]")
    .replaceAll(/\b(coredns-[a-z0-9]+|kube-proxy)-[a-z0-9]{5}\b/g, "$1-*");
}

/** What every cluster has is left out: entries of the system's Services, with the endpoints below them. */
function withoutSystem(text: string): string {
  let system = false;
  return text
    .split("\n")
    .filter((line) => {
      if (!line.startsWith(" ")) system = /# (Service|Pod) (kube-system\/|default\/kubernetes )/.test(line);
      return !system;
    })
    .map((line) => line.replace(/ {2,}# /, "  # "))
    .join("\n");
}

async function runVerb(
  lab: ImaginedLab,
  folder: string,
  variant: Variant,
  verb: string,
  words: readonly string[],
): Promise<string> {
  switch (verb) {
    case "apply":
      await applyFiles(
        lab,
        words.map((word) => join(folder, word)),
        variant,
      );
      return "";
    case "delete": {
      const [kind = "", target = ""] = words;
      const [namespace = "", name = ""] = target.split("/");
      const resource = findResource(kind);
      if (resource === undefined) throw new Error(`no resource ${kind}`);
      lab.api.delete(
        { group: resource.group, resource: resource.resource, namespace, name },
        { gracePeriodSeconds: 0 },
      );
      await lab.settled();
      return "";
    }
    case "ready":
    case "unready":
      lab.setReady(words[0] ?? "", verb === "ready");
      await lab.settled();
      return "";
    case "trace":
    case "explain": {
      const query = {
        from: words[0] ?? "",
        to: words[1] ?? "",
        namespace: "default",
        protocol: words[2] === "udp" ? ("udp" as const) : ("tcp" as const),
      };
      const value = trace(lab.world(), query);
      return verb === "trace" ? renderMinimal(value) : renderSummary(value);
    }
    case "dns": {
      const world = lab.world();
      const [pod = "", name = ""] = words;
      const found = findPod(world, pod.split("/")[0] ?? "", pod.split("/")[1] ?? "");
      if (found === undefined) throw new Error(`no pod ${pod}`);
      const step = resolveName(world, { kind: "pod", pod: found }, name);
      return `${step.tried.map((tried) => `tried ${tried}\n`).join("")}${step.rcode} ${lab.nameAddresses([...step.answers].sort())}\n`;
    }
    case "program":
      return withoutSystem(formatProgramPart(lab.program(words[0] ?? ""), words[1] ?? "", lab.namer()));
    case "problems":
      return lab
        .network()
        .problems.map((problem) => `${problem.severity}: ${originText(problem.origin)}: ${problem.message}\n`)
        .join("");
    case "fails": {
      const [inner = "", ...rest] = words;
      try {
        await runVerb(lab, folder, variant, inner, rest);
      } catch (error) {
        return `${wordsOf(error as Error)}\n`;
      }
      throw new Error("succeeded, and should not have");
    }
    default:
      throw new Error(`unknown verb ${verb}`);
  }
}

/** A refusal of several objects has a line for each. */
function wordsOf(error: Error): string {
  const details = (error as { details?: { problems?: readonly string[] } }).details;
  return details?.problems?.join("\n") ?? error.message;
}

async function applyFiles(lab: ImaginedLab, files: readonly string[], variant: Variant): Promise<void> {
  const objects = loadManifests(files, "default", () => undefined);
  switch (variant) {
    case "as written":
      return lab.apply(objects);
    case "reversed":
      return lab.apply([...objects].reverse());
    case "duplicated":
      await lab.apply(objects);
      return lab.apply(objects);
    case "one by one":
      for (const object of namespacesFirst(objects)) await lab.apply([object]);
  }
}

function namespacesFirst(objects: readonly KubeObject[]): readonly KubeObject[] {
  return [...objects].sort((a, b) => Number(b.kind === "Namespace") - Number(a.kind === "Namespace"));
}

async function endOf(lab: ImaginedLab): Promise<string> {
  await lab.settled();
  return lab
    .network()
    .nodes.map((node) => `${node.name}\n${formatProgramPart(lab.program(node.name), "all", lab.namer())}`)
    .join("\n");
}
