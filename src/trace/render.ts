// A Trace in words: minimal (one line, stable names, for tests), summary (for people), full (every rule passed).

import type { Origin } from "../kube/object.ts";
import { hostsFileCode, othersCode } from "./names.ts";
import {
  isUnasked,
  type Disposition,
  type Hop,
  type PolicyCause,
  type Step,
  type Trace,
  type TracePath,
} from "./trace.ts";

/** One line: `frontend -> api-server:80/tcp  dnat {api-server-a:8080 | api-server-b:8080}  delivered`. No addresses where names are known. */
export function renderMinimal(trace: Trace): string {
  const parts = [`${shortName(trace.from)} -> ${trace.to}`];
  if (isUnasked(trace)) {
    const words = unique(
      (trace.questions ?? [])
        .flatMap(({ paths }) => paths)
        .flatMap(steps)
        .flatMap(minimalWords),
    );
    return `${[...parts, "name not asked", ...words, trace.disposition].join("  ")}\n`;
  }
  if (trace.name !== undefined && trace.paths.length === 0) parts.push(`name ${trace.name.rcode}`);
  const choices = unique(
    trace.paths.flatMap((path) =>
      steps(path).flatMap((step) => (step.kind === "dnat" ? [endpointName(path, step)] : [])),
    ),
  );
  if (choices.length === 1) parts.push(`dnat ${choices[0]}`);
  if (choices.length > 1) parts.push(`dnat {${[...choices].sort().join(" | ")}}`);
  parts.push(...unique(trace.paths.flatMap((path) => steps(path).flatMap(minimalWords))));
  parts.push(trace.disposition);
  return `${parts.join("  ")}\n`;
}

/** What people read first: numbered steps with the object and field that decided each. */
export function renderSummary(trace: Trace): string {
  const lines: Line[] = [];
  let number = 0;
  const add = (label: string, text: string, origin?: Origin): void =>
    void lines.push({ number: ++number, label, text, origin });
  const [question] = trace.questions ?? [];
  if (question !== undefined && isUnasked(trace)) {
    add("name", `${trace.name?.question ?? ""} → ${unaskedText(trace)}`);
    return `${trace.from} → ${trace.to}${" ".repeat(6)}${headline(trace)}\n\n${columns(lines)}\n${renderSummary(question)}`;
  }
  if (trace.name !== undefined) add("name", nameText(trace.name), trace.name.origin);
  lines.push(...lostQuestions(trace));
  const [first] = trace.paths;
  const service = first && steps(first).find((step) => step.kind === "service");
  if (service?.kind === "service" && trace.paths.length > 1) {
    add(
      "service",
      `${hostPort(service.address, service.port)} → ${plural(service.choices.length, "endpoint")}`,
      service.origin,
    );
    trace.paths.forEach((path, index) => {
      const chosen = steps(path).find((step) => step.kind === "dnat");
      const at = service.choices.find(
        (choice) => chosen?.kind === "dnat" && chosen.to === hostPort(choice.address, choice.port),
      );
      if (chosen?.kind !== "dnat") return;
      lines.push({
        label: `${index + 1}/${trace.paths.length}`,
        text: endpointText(chosen.to, at),
        origin: chosen.origin,
      });
      for (const line of pathLines(path, service))
        lines.push({ ...line, label: "", text: `${line.label.padEnd(8)}${line.text}` });
    });
    lines.push(...idleLines(service));
  } else if (first !== undefined) {
    for (const line of pathLines(first)) lines.push(line.isAside === true ? line : { ...line, number: ++number });
  }
  return `${trace.from} → ${trace.to}${" ".repeat(6)}${headline(trace)}\n\n${columns(lines)}${causeLines(trace)}`;
}

/** Everything: each hop, each rule met, with the table, the chain and the object behind it. */
export function renderFull(trace: Trace): string {
  const out = [`${trace.from} → ${trace.to}${" ".repeat(6)}${headline(trace)}`];
  if (trace.name !== undefined) out.push(`name  ${nameText(trace.name)}  ${originText(trace.name.origin)}`.trimEnd());
  if (isUnasked(trace)) {
    out.push(`      ${unaskedText(trace)}`);
    for (const question of trace.questions ?? []) out.push("", renderFull(question).trimEnd());
    return `${out.join("\n")}\n`;
  }
  trace.paths.forEach((path, index) => {
    out.push(
      "",
      trace.paths.length > 1 ? `way ${index + 1} of ${trace.paths.length}: ${path.disposition}` : path.disposition,
    );
    for (const hop of path.hops) {
      out.push(`  ${hopText(hop)}`);
      for (const step of hop.steps) out.push(`    ${fullText(step)}`);
    }
  });
  return `${out.join("\n")}\n`;
}

interface Line {
  readonly number?: number;
  /** No step of the way: it has no number. */
  readonly isAside?: true;
  readonly label: string;
  readonly text: string;
  readonly origin: Origin | undefined;
  /** What the last column says, where the text names the object already. */
  readonly place?: string;
}

function headline(trace: Trace): string {
  const endpoints = trace.paths.length;
  switch (trace.disposition) {
    case "delivered":
      return endpoints > 1 ? `delivered to one of ${endpoints} endpoints` : "delivered";
    case "mixed":
      return `MIXED: ${unique(trace.paths.map((path) => path.disposition))
        .map((each) => `${trace.paths.filter((path) => path.disposition === each).length} ${each}`)
        .join(", ")} of ${plural(endpoints, "way")}`;
    case "unresolved":
      return `UNRESOLVED: ${isUnasked(trace) ? "no question reaches cluster DNS" : (trace.name?.rcode ?? "no address")}`;
    case "refused":
    case "dropped":
    case "unreachable": {
      const place = trace.paths[0]?.hops.at(-1)?.place;
      const denied = deniedStep(trace);
      if (place !== undefined && denied !== undefined)
        return `${trace.disposition.toUpperCase()} ${where(place)}, ${denied.direction} of ${shortName(denied.pod)}`;
      return `${trace.disposition.toUpperCase()}${place === undefined ? ": the two share no IP family" : ` ${where(place)}`}`;
    }
  }
}

function unaskedText({ questions = [] }: Trace): string {
  return `nobody answers: ${questions.map((question) => `${question.to} ${question.disposition}`).join(", ")}`;
}

/** Questions that are lost now and then, or all of them to one of several servers: the client waits and asks again. */
function lostQuestions({ questions = [] }: Trace): readonly Line[] {
  return questions
    .filter(({ disposition }) => disposition !== "delivered")
    .map((question) => ({
      isAside: true,
      label: "not",
      text: `every question is answered: ${question.to} ${headline(question)}`,
      origin: undefined,
    }));
}

/** The policy step that ended the first path that a policy ended. */
function deniedStep(trace: Trace): (Step & { readonly kind: "policy" }) | undefined {
  for (const path of trace.paths) {
    const last = path.hops.at(-1)?.steps.at(-1);
    if (last?.kind === "policy" && last.verdict === "denied") return last;
  }
  return undefined;
}

/** Why the name gave no address, or the Service of the first way had nobody to send the packet to. */
function causesOfNone({ name, paths: [first] }: Trace): readonly PolicyCause[] {
  if (first === undefined) return name?.causes ?? [];
  const last = first?.hops.at(-1)?.steps.at(-1);
  return (last?.kind === "reject" || last?.kind === "drop" ? last.causes : undefined) ?? [];
}

function causeLines(trace: Trace): string {
  const denied = deniedStep(trace);
  const causes = denied?.causes ?? causesOfNone(trace);
  if (causes.length === 0) return "";
  const width = Math.min(78, Math.max(...causes.map(({ text }) => text.length)));
  const lines = causes.map(({ text, origin }, index) =>
    `${index === 0 ? "    cause " : "          "}${text.padEnd(width)}  ${denied === undefined ? originText(origin) : placeText(origin)}`.trimEnd(),
  );
  const { cures = [] } = trace;
  const [first] = cures;
  const cure =
    first === undefined
      ? []
      : cures.length === 1
        ? [`    cure  ${first}   (tried)`]
        : ["    cure  one of these, each tried:", ...cures.map((text) => `          · ${text}`)];
  return `\n${[...lines, ...cure].join("\n")}\n`;
}

function where(place: Hop["place"]): string {
  switch (place.kind) {
    case "pod":
      return `at pod ${place.name}`;
    case "node":
      return `on ${place.name}`;
    case "outside":
      return "outside of the cluster";
  }
}

function pathLines(path: TracePath, seen?: Step & { kind: "service" }): readonly Line[] {
  const lines: Line[] = [];
  const nodes = path.hops.filter((hop) => hop.place.kind !== "pod");
  for (const hop of path.hops) {
    for (const step of hop.steps) {
      const line = summaryLine(step, hop, nodes, seen);
      if (line !== undefined) lines.push(line);
      if (line !== undefined && step.kind === "service") lines.push(...idleLines(step));
    }
  }
  return lines;
}

/** Endpoints that the Service has and the packet does not get. */
function idleLines({ idle = [] }: Step & { kind: "service" }): readonly Line[] {
  return idle.map(({ text, origin }) => ({ isAside: true, label: "not", text, origin }));
}

function summaryLine(step: Step, hop: Hop, nodes: readonly Hop[], seen?: Step): Line | undefined {
  switch (step.kind) {
    case "name":
    case "rule":
      return undefined;
    case "service":
      if (seen !== undefined) return undefined;
      return {
        label: "service",
        text: `${hostPort(step.address, step.port)} → ${plural(step.choices.length, "endpoint")}: ${step.choices.map((choice) => endpointText(hostPort(choice.address, choice.port), choice)).join(", ")}`,
        origin: step.origin,
      };
    case "dnat":
      return undefined;
    case "snat":
      return { label: "source", text: `${step.from} becomes ${step.to} on ${hop.place.name}`, origin: step.origin };
    case "route": {
      const onward = nodes[nodes.indexOf(hop) + 1];
      const tunnel = hop.steps.find((other) => other.kind === "tunnel");
      if (tunnel?.kind === "tunnel")
        return {
          label: "route",
          text: `${hop.place.name} → ${tunnel.node} by vxlan ${tunnel.link}, mtu ${step.mtu}`,
          origin: step.origin,
        };
      if (onward === undefined)
        return { label: "route", text: `on ${hop.place.name} by ${step.link}, mtu ${step.mtu}`, origin: step.origin };
      return {
        label: "route",
        text: `${hop.place.name} → ${onward.place.name} by ${step.link}, mtu ${step.mtu}`,
        origin: step.origin,
      };
    }
    case "tunnel":
      return undefined;
    case "policy":
      return { label: step.direction, ...policyLine(step) };
    case "guard":
      return { label: "guard", text: `${step.verdict}: ${step.detail}`, origin: step.origin };
    case "reject":
      return { label: "reject", text: rejectText(step), origin: step.origin };
    case "drop":
      return { label: "drop", text: step.detail, origin: step.origin };
    case "no-route":
      return { label: "route", text: `${hop.place.name} has no way to ${step.to}`, origin: step.origin };
    case "socket":
      return { label: "socket", text: socketText(step), origin: undefined };
    case "reply":
      return { label: "reply", text: `comes back from ${step.restored}`, origin: undefined };
  }
}

function rejectText({ with: answer, reason }: Step & { kind: "reject" }): string {
  return reason === undefined ? `answered with ${answer}` : `answered with ${answer}: ${reason}`;
}

function policyLine(step: Step & { kind: "policy" }): Pick<Line, "text" | "origin" | "place"> {
  const { origin, direction, detail, also = [], passed = [] } = step;
  const names = [...new Set(passed.map((cause) => cause.origin.name))];
  const onward = names.length === 0 ? "" : `, passed on by ${names.join(", ")}`;
  switch (step.verdict) {
    case "not-isolated":
      return {
        text: `allowed, ${detail ?? `no policy isolates ${shortName(step.pod)} for ${direction}`}${onward}`,
        origin: undefined,
      };
    case "allowed":
      if (origin === undefined) return { text: "allowed", origin };
      return {
        text: `allowed by ${origin.kind} ${decider(step, origin, also)}${onward}`,
        origin,
        place: placeText(origin),
      };
    case "denied":
      if (step.tier !== undefined && origin !== undefined)
        return { text: `denied by ${origin.kind} ${decider(step, origin)}${onward}`, origin, place: placeText(origin) };
      return { text: `denied, nothing lets it ${direction === "ingress" ? "in" : "out"}${onward}`, origin };
  }
}

/** `production/db`; of a ClusterNetworkPolicy also the tier: `no-db (tier Admin)`. */
function decider(
  { tier }: Step & { kind: "policy" },
  { namespace, name }: Origin,
  also: readonly string[] = [],
): string {
  if (tier !== undefined) return `${name} (tier ${tier === "admin" ? "Admin" : "Baseline"})`;
  return `${namespace ?? ""}/${[name, ...also].join(", ")}`;
}

function socketText(step: Step & { kind: "socket" }): string {
  if (step.port === 0) return "answers echo requests";
  const container = step.container === undefined ? "" : ` in container ${step.container}`;
  switch (step.listening) {
    case "yes":
      return `${step.port} is listening${container}`;
    case "no":
      return `nothing listens on ${step.port}${step.pod === undefined ? "" : ` in ${step.pod}`}${insteadText(step)}`;
    case "unknown":
      return `${step.port}, whether something listens cannot be told here`;
  }
}

function insteadText({ instead = [] }: Step & { kind: "socket" }): string {
  return instead.length === 0 ? "" : `; it listens on ${instead.join(", ")}`;
}

function minimalWords(step: Step): readonly string[] {
  switch (step.kind) {
    case "snat":
      return ["snat"];
    case "reject":
      return [`reject ${shortOrigin(step.origin)}`];
    case "drop":
      return [`drop ${shortOrigin(step.origin)}`];
    case "policy":
      return step.verdict === "denied" ? [`drop ${step.direction} ${step.origin?.name ?? ""}`] : [];
    case "guard":
      return step.verdict === "denied" ? ["guard"] : [];
    case "tunnel":
      return ["tunnel"];
    case "no-route":
      return ["no route"];
    case "name":
    case "service":
    case "dnat":
    case "route":
    case "rule":
    case "socket":
    case "reply":
      return [];
  }
}

function fullText(step: Step): string {
  switch (step.kind) {
    case "name":
      return `name ${nameText(step)} ${originText(step.origin)}`;
    case "service":
      return `service ${hostPort(step.address, step.port)} → {${step.choices.map((choice) => endpointText(hostPort(choice.address, choice.port), choice)).join(" | ")}}  ${originText(step.origin)}`;
    case "dnat":
      return `dnat ${step.from} → ${step.to}  ${originText(step.origin)}`;
    case "snat":
      return `snat ${step.from} → ${step.to}  ${originText(step.origin)}`;
    case "route":
      return `route ${step.to}${step.via === undefined ? "" : ` via ${step.via}`} dev ${step.link} mtu ${step.mtu}  ${originText(step.origin)}`;
    case "tunnel":
      return `tunnel ${step.link} to ${step.remote} (${step.node})  ${originText(step.origin)}`;
    case "policy":
      return `policy ${step.direction} ${step.verdict}  ${originText(step.origin)}`;
    case "guard":
      return `guard ${step.verdict}: ${step.detail}  ${originText(step.origin)}`;
    case "rule":
      return `${step.table} ${step.chain}: ${step.text}  → ${step.verdict}  ${originText(step.origin)}`;
    case "reject":
      return `${rejectText(step)}  ${originText(step.origin)}`;
    case "drop":
      return `drop: ${step.detail}  ${originText(step.origin)}`;
    case "no-route":
      return `no route to ${step.to}  ${originText(step.origin)}`;
    case "socket":
      return `socket ${socketText(step)}`;
    case "reply":
      return `reply from ${step.restored}`;
  }
}

function nameText(step: Step & { kind: "name" }): string {
  const answers = step.answers.length === 0 ? step.rcode : step.answers.join(", ");
  const tried =
    step.tried.length > 1
      ? ` (names tried: ${step.tried.join(", ")}${step.askedOnce === true ? "; one question, cluster DNS tried the rest: autopath" : ""})`
      : "";
  const written = step.rcode === hostsFileCode || step.rcode === othersCode ? ` (${step.rcode})` : "";
  return `${step.question} → ${answers}${tried}${written}`;
}

function endpointText(address: string, choice: { readonly pod?: string; readonly node?: string } | undefined): string {
  return `${address}${choice?.pod === undefined ? "" : ` ${shortName(choice.pod)}`}${choice?.node === undefined ? "" : ` on ${choice.node}`}`;
}

function endpointName(path: TracePath, dnat: Step & { kind: "dnat" }): string {
  const service = steps(path).find((step) => step.kind === "service");
  const choice =
    service?.kind === "service"
      ? service.choices.find((each) => hostPort(each.address, each.port) === dnat.to)
      : undefined;
  return choice?.pod === undefined ? dnat.to : `${shortName(choice.pod)}:${choice.port}`;
}

function hopText(hop: Hop): string {
  return hop.place.kind === "outside"
    ? "internet"
    : `${hop.place.kind} ${hop.place.name}${hop.place.node === undefined ? "" : ` (${hop.place.node})`}`;
}

/** `Service production/api-server spec.clusterIP (shop.yaml:31)` */
export function originText(origin: Origin | undefined): string {
  if (origin === undefined) return "";
  const name = origin.namespace === undefined ? origin.name : `${origin.namespace}/${origin.name}`;
  return `${origin.kind} ${name}${origin.field === undefined ? "" : ` ${origin.field}`}${origin.source === undefined ? "" : ` (${origin.source})`}`;
}

/** `spec.podSelector (db.yaml:7)`: the object is named already. */
function placeText({ field = "", source }: Origin): string {
  return `${field}${source === undefined ? "" : ` (${source})`}`;
}

function shortOrigin(origin: Origin): string {
  return `${origin.kind} ${origin.name}`;
}

function columns(lines: readonly Line[]): string {
  const texts = lines.map(
    (line) =>
      `${line.number === undefined ? "  " : String(line.number).padStart(2)} ${line.label.padEnd(8)} ${line.text}`,
  );
  const width = Math.min(78, Math.max(...texts.map((text) => text.length), 0));
  return texts
    .map((text, i) => `${`${text.padEnd(width)}  ${lines[i]?.place ?? originText(lines[i]?.origin)}`.trimEnd()}\n`)
    .join("");
}

function steps(path: TracePath): readonly Step[] {
  return path.hops.flatMap((hop) => hop.steps);
}

function shortName(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

function hostPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

function unique<T>(values: readonly T[]): readonly T[] {
  return [...new Set(values)];
}

/** Exit status of `fairlead trace`: 0 when the packet arrives on every way. */
export function exitStatus(disposition: Disposition | "mixed"): 0 | 1 {
  return disposition === "delivered" ? 0 : 1;
}
