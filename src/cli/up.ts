// `fairlead up`: starts the lab (or meets the one that runs), brings the manifests, waits until all is ready, checks with real packets.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import process from "node:process";
import { addressBits, parsePrefix, prefixBits, prefixRange, subnet, type Prefix } from "../ip/prefix.ts";
import type { Family } from "../ip/address.ts";
import type { KubeObject } from "../kube/object.ts";
import { probeUserNamespaces } from "../kernel/refusal.ts";
import { labClient, type LabClient } from "../lab/client.ts";
import type { LabConfig, Progress } from "../lab/config.ts";
import { isRunning, killDaemon, launchDaemon, openApiListener } from "../lab/launch.ts";
import { parsePublished } from "../lab/publish.ts";
import { labPaths, makeLabFolder, type LabPaths } from "../lab/paths.ts";
import { clusterConfig, nodePodCidrBits } from "../model/cluster.ts";
import type { Routing } from "../model/network.ts";
import { loadManifests } from "./manifests.ts";
import { nodePortNumbers, nodePortRanges } from "./node-ports.ts";
import type { Readiness } from "../lab/wait.ts";
import { count, stepLine } from "./report.ts";

interface UpOptions {
  readonly filename: readonly string[];
  readonly nodes?: string;
  readonly name: string;
  readonly ipFamilies?: string;
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  readonly nodeCidr?: string;
  readonly domain?: string;
  readonly routing?: Routing;
  readonly nodeportAddresses?: string;
  readonly serviceNodePortRange?: string;
  readonly apiPort: string;
  readonly packets: "on" | "off" | "auto";
  readonly dns?: "pods" | "node-local";
  readonly policy?: "on" | "off";
  readonly policyConnections?: "keep" | "strict";
  readonly policyLog?: "drops" | "accepts";
  readonly controllers: "own" | "none";
  readonly publish?: readonly string[];
  readonly timeout: string;
  readonly wait: boolean;
  readonly quiet?: boolean;
}

export default async function up(options: UpOptions): Promise<number> {
  const started = performance.now();
  const say = (text: string): void => void (options.quiet === true || process.stdout.write(`${text}\n`));
  const paths = labPaths(options.name);
  const seconds = secondsOf(options.timeout);
  const objects = loadManifests(options.filename, "default", (warning) => process.stderr.write(`${warning}\n`));
  const lab = labClient(paths);
  const running = isRunning(paths) && (await lab.alive());
  if (!running) {
    await killDaemon(paths);
    const config = { ...configFor(paths, options), ...switchableSettings(options) };
    const { listener, port } = await openApiListener(config.apiPort);
    const packets = decidePackets(paths, { ...config, apiPort: port }, options);
    say(headline(packets));
    if (packets.policy === "off")
      say("  NetworkPolicies are NOT enforced (--policy off): every packet they would stop passes");
    if (packets.packets === "off") {
      if (options.packets !== "off") say(`  namespaces are refused here: ${packets.packetsOffReason}`);
      const word = options.packets === "off" ? "as asked" : "as if --packets=off";
      say(`  going on without packets (${word}): kubectl, DNS answers and trace work, nothing is sent`);
    }
    await launchDaemon(paths, {
      packets: packets.packets,
      listener,
      publish: (packets.publish ?? []).map(({ hostPort }) => hostPort),
      progress: (line) => sayProgress(line, say),
    });
  } else {
    const config = resumed(readConfig(paths), options);
    if (options.packets !== "auto" && options.packets !== config.packets)
      throw new Error(
        `lab "${options.name}" runs with packets ${config.packets}: stop it first (fairlead down --keep${nameFlag(options)})`,
      );
    const atStart = Object.entries({
      "--publish": options.publish,
      "--nodeport-addresses": options.nodeportAddresses,
      "--service-node-port-range": options.serviceNodePortRange,
    });
    for (const [option, value] of atStart)
      if (value !== undefined)
        throw new Error(
          `${option}: lab "${options.name}" runs already: stop it first (fairlead down --keep${nameFlag(options)})`,
        );
    say(`fairlead  lab "${options.name}" is running`);
    const { restored } = await lab.call<{ restored: readonly string[] }>("/restore", {});
    if (restored.length > 0) say(stepLine("✔", "restored", restored.join(", "), since(started)));
  }

  // Whoever is to make pods and give them nodes comes when there is an API server to come to.
  const isAlone = !running && options.controllers === "none";
  const wait = options.wait && !isAlone;
  if (isAlone) say(controllersHint(readConfig(paths), paths));
  if (objects.length > 0) {
    const { results } = await lab.call<{ results: readonly { result: string }[] }>("/apply", { objects });
    setContextNamespace(paths, objects);
    const label = options.filename.map((file) => relative(process.cwd(), file) || file).join(" ");
    if (!wait) {
      say(stepLine("✔", label, `${count(results.length, "object")} stored`, since(started)));
      if (isAlone) say(nextSteps(options, readConfig(paths), paths));
      return 0;
    }
    if (!(await waitUntilReady(lab, label, seconds, say))) return 1;
  } else if (wait && !(await waitUntilReady(lab, "kube-system", seconds, say))) return 1;
  if (wait && !(await check(lab, say))) return 1;
  say(`Ready in ${since(started).toFixed(2)} s.`);
  say(nextSteps(options, readConfig(paths), paths));
  return 0;
}

function configFor(paths: LabPaths, options: UpOptions): LabConfig {
  if (existsSync(paths.config)) return resumed(readConfig(paths), options);
  const families = familiesOf(options.ipFamilies ?? "ipv4,ipv6");
  const nodes = Number(options.nodes ?? 3);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 250)
    throw new Error(`--nodes ${options.nodes}: must be a number from 1 to 250`);
  const apiPort = Number(options.apiPort);
  if (!Number.isInteger(apiPort) || apiPort < 1 || apiPort > 65_535)
    throw new Error(`--api-port ${options.apiPort}: must be a port from 1 to 65535`);
  const cluster = clusterConfig({
    families,
    ...(options.domain !== undefined && { domain: options.domain }),
    ...(options.podCidr !== undefined && { podCidrs: prefixes("--pod-cidr", options.podCidr) }),
    ...(options.serviceCidr !== undefined && { serviceCidrs: prefixes("--service-cidr", options.serviceCidr) }),
    ...(options.nodeCidr !== undefined && { nodeCidrs: prefixes("--node-cidr", options.nodeCidr) }),
  });
  checkRoom(cluster.podCidrs, nodes);
  const { routing } = options;
  return {
    name: options.name,
    nodes,
    families,
    podCidrs: cluster.podCidrs,
    serviceCidrs: cluster.serviceCidrs,
    nodeCidrs: cluster.nodeCidrs,
    domain: cluster.domain,
    ...(routing !== undefined && { routing }),
    ...(routing === "mixed" && { subnets: halves(cluster.nodeCidrs) }),
    apiPort,
    packets: "on",
  };
}

/** Two links of the underlay. */
function halves(nodeCidrs: readonly Prefix[]): readonly Prefix[] {
  return nodeCidrs.flatMap((range) => {
    const bits = prefixBits(range) + 1;
    if (addressBits(prefixRange(range).family) - bits < 9)
      throw new Error(
        `--routing mixed: node range ${range} is too small for two subnets of 512: give a shorter --node-cidr`,
      );
    return [subnet(range, bits, 0), subnet(range, bits, 1)];
  });
}

/** Every node takes a part of each pod range: there must be one for all of them. */
function checkRoom(podCidrs: readonly Prefix[], nodes: number): void {
  for (const range of podCidrs) {
    const { family } = prefixRange(range);
    const bits = nodePodCidrBits(family);
    const room = 2 ** (bits - prefixBits(range));
    if (room >= nodes) continue;
    const larger = bits - Math.ceil(Math.log2(nodes));
    throw new Error(
      `ipam: pod range ${range} has room for ${count(room, "node")} with a /${bits} each, not for ${nodes}: give --pod-cidr a /${larger} or larger, or fewer --nodes`,
    );
  }
}

/** Policy and controllers may be switched with every start. */
function switchableSettings({
  publish,
  nodeportAddresses,
  serviceNodePortRange,
  dns,
  policy,
  policyConnections,
  policyLog,
  controllers,
}: UpOptions): Partial<LabConfig> {
  return {
    ...(nodeportAddresses !== undefined && { nodePortCidrs: nodePortRanges(nodeportAddresses) ?? [] }),
    ...optionalNodePorts(serviceNodePortRange),
    ...(publish !== undefined && { publish: publish.map(parsePublished) }),
    controllers,
    ...(dns !== undefined && { dns }),
    ...(policy !== undefined && { policy }),
    ...(policyConnections !== undefined && { establishedConnections: policyConnections }),
    ...(policyLog !== undefined && { policyLog }),
  };
}

function optionalNodePorts(text: string | undefined): Pick<LabConfig, "nodePorts"> {
  const nodePorts = nodePortNumbers(text);
  return nodePorts === undefined ? {} : { nodePorts };
}

function readConfig(paths: LabPaths): LabConfig {
  return JSON.parse(readFileSync(paths.config, "utf8")) as LabConfig;
}

/** The settings of a lab that exists already. What it was made with stays: an option that says otherwise is an error. */
function resumed(config: LabConfig, options: UpOptions): LabConfig {
  const given: readonly (readonly [string, string | undefined, string])[] = [
    ["--nodes", options.nodes, String(config.nodes)],
    ["--ip-families", options.ipFamilies, config.families.map((family) => `ipv${family}`).join(",")],
    ["--pod-cidr", options.podCidr, config.podCidrs.join(",")],
    ["--service-cidr", options.serviceCidr, config.serviceCidrs.join(",")],
    ["--node-cidr", options.nodeCidr, config.nodeCidrs.join(",")],
    ["--domain", options.domain, config.domain],
    ["--routing", options.routing, config.routing ?? "vxlan"],
  ];
  for (const [option, wanted, has] of given) {
    if (wanted === undefined || wanted === has) continue;
    const cure = option === "--nodes" ? "fairlead node add adds one; " : "";
    throw new Error(
      `${option} ${wanted}: lab "${config.name}" was made with ${has}: ${cure}fairlead down${nameFlag(options)} removes it, then up starts anew`,
    );
  }
  return config;
}

/** Settles whether packets are possible, and keeps the decision in the lab's folder for the daemon. */
function decidePackets(paths: LabPaths, config: LabConfig, options: UpOptions): LabConfig {
  const refused = options.packets === "off" ? "--packets=off" : refusal();
  if (refused !== undefined && options.packets === "on") throw new Error(`namespaces are refused here: ${refused}`);
  const { packetsOffReason: _, ...rest } = config;
  const decided: LabConfig =
    refused === undefined ? { ...rest, packets: "on" } : { ...rest, packets: "off", packetsOffReason: refused };
  makeLabFolder(paths);
  writeFileSync(paths.config, JSON.stringify(decided, undefined, 2), { mode: 0o600 });
  return decided;
}

/** What forbids namespaces here and what would allow them; undefined where they are allowed. */
function refusal(): string | undefined {
  const answer = probeUserNamespaces();
  return answer.available ? undefined : answer.reason;
}

async function waitUntilReady(
  lab: LabClient,
  label: string,
  seconds: number,
  say: (text: string) => void,
): Promise<boolean> {
  const started = performance.now();
  let last: Readiness | undefined;
  const live = process.stdout.isTTY;
  await lab.lines<Readiness>("/wait", { seconds }, (line) => {
    last = line;
    if (live) process.stdout.write(`\r  … ${label}: ${line.podsReady} of ${count(line.pods, "pod")} ready\u001b[K`);
  });
  if (live) process.stdout.write("\r\u001b[K");
  const ready = last !== undefined && last.missing.length === 0;
  const detail = last === undefined ? "" : `${last.podsReady} of ${count(last.pods, "pod")} ready`;
  say(stepLine(ready ? "✔" : "✘", label, detail, since(started)));
  if (!ready) {
    const after = last?.isHopeless === true ? "and will not be" : `after ${seconds} s`;
    process.stderr.write(`fairlead up: not ready ${after}:\n`);
    for (const line of last?.missing ?? []) process.stderr.write(`  ${line}\n`);
  }
  return ready;
}

async function check(lab: LabClient, say: (text: string) => void): Promise<boolean> {
  const started = performance.now();
  const { checks } = await lab.call<{ checks: readonly { name: string; ok: boolean; detail: string }[] }>("/check");
  const failures = checks.filter((each) => !each.ok);
  const names = checks.map((each) => each.name).join(" · ");
  if (checks.length > 0)
    say(
      stepLine(
        failures.length === 0 ? "✔" : "✘",
        failures.length === 0 ? "checked" : "check failed",
        names,
        since(started),
      ),
    );
  for (const failure of failures) process.stderr.write(`fairlead up: check ${failure.name}: ${failure.detail}\n`);
  return failures.length === 0;
}

function sayProgress(line: Progress, say: (text: string) => void): void {
  if (line.kind === "step") say(stepLine("✔", line.what, line.detail, line.seconds));
}

/** What kube-controller-manager needs of a lab besides its kubeconfig. */
function controllersHint({ podCidrs }: LabConfig, { pki }: LabPaths): string {
  const flags = [
    "--allocate-node-cidrs",
    `--cluster-cidr=${podCidrs.join(",")}`,
    `--service-account-private-key-file=${join(pki, "sa.key")}`,
    `--root-ca-file=${join(pki, "ca.crt")}`,
  ];
  return [
    "  pods come when kube-scheduler and kube-controller-manager run with this lab's kubeconfig, the latter with",
    `    ${flags.join(" ")}`,
  ].join("\n");
}

function headline(config: LabConfig): string {
  const families = config.families.map((family) => `IPv${family}`).join(" + ");
  return `fairlead  lab "${config.name}"  ${count(config.nodes, "node")} · ${config.routing ?? "vxlan"} · nftables · ${families}`;
}

function nextSteps(options: UpOptions, config: LabConfig, paths: LabPaths): string {
  const name = nameFlag(options);
  const shop = options.filename.some((file) => /(^|\/)shop\/?$/.test(file));
  const lines = [
    `export KUBECONFIG=${paths.kubeconfig.replace(homedir(), "~")}`,
    "kubectl get pods -A -o wide",
    ...(shop
      ? [
          `npx fairlead trace production/frontend http://api-server${name}`,
          ...(config.packets === "on"
            ? [`npx fairlead exec -n production deploy/frontend${name} -- curl -s http://api-server/hostname`]
            : []),
        ]
      : [`npx fairlead up -f examples/shop${name}`]),
    `npx fairlead down${name}`,
  ];
  return `\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** People work in `production` where their manifests make it: then kubectl's commands need no -n. */
function setContextNamespace(paths: LabPaths, objects: readonly KubeObject[]): void {
  if (!objects.some(({ kind, metadata }) => kind === "Namespace" && metadata.name === "production")) return;
  const text = readFileSync(paths.kubeconfig, "utf8");
  writeFileSync(paths.kubeconfig, text.replace(/^( +namespace: ).*$/m, '$1"production"'), { mode: 0o600 });
}

function nameFlag(options: UpOptions): string {
  return options.name === "default" ? "" : ` --name ${options.name}`;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (text === "" || !(seconds > 0) || seconds > 86_400)
    throw new Error(`--timeout ${text}: must be a number of seconds, such as 120`);
  return seconds;
}

function familiesOf(text: string): readonly Family[] {
  const families = text.split(",").map((word): Family => {
    const match = /^(?:ipv)?([46])$/i.exec(word.trim());
    if (!match) throw new Error(`--ip-families ${text}: must be ipv4, ipv6 or ipv4,ipv6`);
    return match[1] === "4" ? 4 : 6;
  });
  return [...new Set(families)];
}

function prefixes(option: string, text: string): readonly string[] {
  return text.split(",").map((word) => {
    const prefix = parsePrefix(word.trim());
    if (prefix === undefined)
      throw new Error(`${option} ${text}: ${JSON.stringify(word)} is no prefix such as 10.244.0.0/16`);
    return prefix;
  });
}

function since(started: number): number {
  return (performance.now() - started) / 1000;
}
