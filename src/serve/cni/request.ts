// What a runtime asks of a CNI plugin, read and checked: environment and configuration -> one call (CNI SPEC 1.1.0, sections 2 and 3).
// Pure but for Buffer: bytes give a value or a CniError with the specification's code, naming the variable or key.
//
// Not here: what is done (handle.ts), and how the bytes travel (slots.ts, socket.ts).

import { Buffer } from "node:buffer";

import { familyOf, parseAddress, type Address } from "../../ip/address.ts";
import type { Mac } from "../../ip/mac.ts";
import { parseInterfaceAddress } from "../../ip/prefix.ts";
import { CniError, attachmentId, cniCodes, type CniRequest } from "./cni.ts";

/** Oldest first. bin/fairlead-cni and bin/fairlead-cni.mjs say the same where no agent runs (a test compares). */
export const cniVersions: readonly CniVersion[] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
export type CniVersion = "0.3.0" | "0.3.1" | "0.4.0" | "1.0.0" | "1.1.0";

/** A plugin's environment (CNI_* only) and standard input. */
export interface CniInvocation {
  readonly environment: ReadonlyMap<string, string>;
  readonly config: string;
}

export type CniCall =
  | { readonly kind: "ADD"; readonly to: Attach; readonly dns: unknown; readonly ignored: readonly string[] }
  | { readonly kind: "DEL"; readonly to: Attach }
  | { readonly kind: "CHECK"; readonly to: Attach }
  /** Ids as of attachmentId. */
  | { readonly kind: "GC"; readonly validIds: ReadonlySet<string>; readonly network: string }
  | { readonly kind: "STATUS" }
  | { readonly kind: "VERSION" };

/** What ADD, DEL and CHECK have in common. */
interface Attach {
  readonly request: CniRequest;
  /** The path of the pod's network namespace; DEL works without. */
  readonly netns: string | undefined;
  /** CNI_NETNS_OVERRIDE: the namespace may be the node's own. */
  readonly ownNamespaceAllowed: boolean;
  readonly prevResult: JsonObject | undefined;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** More than this is no configuration. Bytes. */
export const requestBytesMax = 1_048_576;

/** `fairlead-cni 2` (or 1, see slots.ts), NUL; `KEY=value`, NUL, as often as there are any; NUL; the configuration. Throws CniError 5, and 6 for more than `requestBytesMax`. */
export function decodeInvocation(bytes: Uint8Array): CniInvocation {
  if (bytes.byteLength > requestBytesMax)
    throw new CniError(
      cniCodes.decoding,
      `read the network configuration: with the environment it is longer than ${requestBytesMax} bytes`,
    );
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  const end = text.indexOf("\0\0");
  const [greeting, ...pairs] = end < 0 ? [] : text.slice(0, end).split("\0");
  if (greeting !== "fairlead-cni 1" && greeting !== "fairlead-cni 2") {
    throw new CniError(
      cniCodes.io,
      "read a request: it is not what fairlead-cni of this version sends",
      "install the fairlead-cni that belongs to this agent",
    );
  }
  const environment = new Map<string, string>();
  for (const pair of pairs) {
    const cut = pair.indexOf("=");
    if (cut > 0 && cut < pair.length - 1) environment.set(pair.slice(0, cut), pair.slice(cut + 1));
  }
  return { environment, config: text.slice(end + 2) };
}

/** The version to answer in: the configuration's where it is one of ours, else the newest. Never throws. */
export function answerVersion({ config }: CniInvocation): CniVersion {
  const value = parsed(config)?.["cniVersion"];
  return isKnown(value) ? value : "1.1.0";
}

/** Reads and checks the whole request. Throws CniError 1, 2, 4, 6 or 7. */
export function readCall({ environment, config }: CniInvocation): CniCall {
  const command = environment.get("CNI_COMMAND");
  switch (command) {
    case "VERSION":
      return { kind: "VERSION" };
    case "ADD":
    case "DEL":
    case "CHECK":
      return readAttach(command, environment, config);
    case "GC": {
      const settings = readConfig(config, "1.1.0", command);
      return { kind: "GC", validIds: validIds(settings), network: String(settings["name"]) };
    }
    case "STATUS":
      readConfig(config, "1.1.0", command);
      return { kind: "STATUS" };
    case undefined:
      throw invalid("CNI_COMMAND", "is not set");
    default:
      throw invalid("CNI_COMMAND", `${JSON.stringify(command)} is none of ADD, DEL, CHECK, GC, STATUS, VERSION`);
  }
}

function readAttach(
  command: "ADD" | "DEL" | "CHECK",
  environment: ReadonlyMap<string, string>,
  config: string,
): CniCall {
  const containerId = checkedContainerId(environment);
  const interfaceName = checkedInterfaceName(environment);
  const netns = environment.get("CNI_NETNS");
  if (netns === undefined && command !== "DEL") throw invalid("CNI_NETNS", "is not set");
  const settings = readConfig(config, command === "CHECK" ? "0.4.0" : "0.3.0", command);
  const prevResult = objectAt(settings, "prevResult");
  const to = (request: Partial<CniRequest>): Attach => ({
    request: {
      containerId,
      interfaceName,
      podNamespace: "",
      podName: containerId,
      podUid: "",
      portMappings: [],
      network: String(settings["name"]),
      // The number of a process may be another's tomorrow.
      ...(netns !== undefined && !netns.startsWith("/proc/") && { namespacePath: netns }),
      ...request,
    },
    netns,
    ownNamespaceAllowed: /^(1|true)$/i.test(environment.get("CNI_NETNS_OVERRIDE") ?? ""),
    prevResult,
  });
  if (command === "DEL") return { kind: command, to: to({}) };
  const args = readArgs(environment.get("CNI_ARGS"));
  const pod = podOf(args);
  if (command === "CHECK") {
    if (prevResult === undefined)
      throw new CniError(
        cniCodes.invalidConfig,
        "CHECK: prevResult is missing: the runtime must give the result of ADD",
      );
    return { kind: command, to: to({ ...pod, addresses: addressesOf(prevResult, interfaceName) }) };
  }
  refuseUnsupported(settings);
  // Before anything is made: it is to be passed on.
  for (const key of ["interfaces", "ips", "routes"]) arrayAt(prevResult ?? {}, key);
  const runtime = objectAt(settings, "runtimeConfig") ?? {};
  const addresses = requestedAddresses(runtime, settings, args);
  const mac = requestedMac(runtime, args);
  return {
    kind: command,
    to: to({
      ...pod,
      portMappings: portMappings(runtime),
      ...(addresses.length > 0 && { addresses }),
      ...(mac !== undefined && { mac }),
    }),
    dns: runtimeDns(runtime) ?? settingsDns(settings),
    ignored: Object.keys(runtime).flatMap((key) => {
      const why = ignoredCapabilities[key];
      return why === undefined ? [] : [`capability ${key}: ${why}`];
    }),
  };
}

/** Capabilities of CNI's conventions that are given and not acted upon, and why. */
const ignoredCapabilities: Readonly<Record<string, string>> = {
  bandwidth: "Fairlead shapes no traffic; put the bandwidth plugin behind fairlead-cni",
  ipRanges: "addresses come from the node's pod ranges (Node spec.podCIDRs)",
  infinibandGUID: "a pod's link is Ethernet",
  deviceID: "a pod's link is a veth pair",
  aliases: "names come from cluster DNS",
  cgroupPath: "nothing here depends on a cgroup",
};

// ---------------------------------------------------------------- environment

// SPEC "Parameters": begins with a letter or digit, then letters, digits, underscore, dot, hyphen.
function checkedContainerId(environment: ReadonlyMap<string, string>): string {
  const value = environment.get("CNI_CONTAINERID");
  if (value === undefined) throw invalid("CNI_CONTAINERID", "is not set");
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(value) || value.length > 255)
    throw invalid("CNI_CONTAINERID", `${JSON.stringify(value.slice(0, 80))} is no container id`);
  return value;
}

// linux/if.h IFNAMSIZ and net/core/dev.c dev_valid_name.
function checkedInterfaceName(environment: ReadonlyMap<string, string>): string {
  const value = environment.get("CNI_IFNAME");
  if (value === undefined) throw invalid("CNI_IFNAME", "is not set");
  if (Buffer.byteLength(value) > 15 || value === "." || value === ".." || /[/:\s]/.test(value))
    throw invalid("CNI_IFNAME", `${JSON.stringify(value.slice(0, 80))} is no name of an interface`);
  if (value === "lo") throw invalid("CNI_IFNAME", `"lo" is the pod's loopback already`);
  // The kernel takes a percent sign for a pattern to make a name of, and /proc/sys/net has a folder `all` and one `default`.
  if (value.includes("%") || value === "all" || value === "default")
    throw invalid("CNI_IFNAME", `${JSON.stringify(value)} is a name that the kernel gives to no single interface`);
  return value;
}

/** What Kubernetes' runtimes and CNI's conventions put into CNI_ARGS. */
const knownArgs: ReadonlySet<string> = new Set([
  "IgnoreUnknown",
  "K8S_POD_NAMESPACE",
  "K8S_POD_NAME",
  "K8S_POD_UID",
  "K8S_POD_INFRA_CONTAINER_ID",
  "IP",
  "MAC",
]);

function readArgs(text: string | undefined): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of (text ?? "").split(";")) {
    if (pair === "") continue;
    const cut = pair.indexOf("=");
    if (cut < 1) throw invalid("CNI_ARGS", `${JSON.stringify(pair.slice(0, 80))} is not KEY=VALUE`);
    args.set(pair.slice(0, cut), pair.slice(cut + 1));
  }
  const ignore = args.get("IgnoreUnknown")?.toLowerCase();
  if (ignore !== undefined && !["1", "0", "true", "false"].includes(ignore))
    throw invalid("CNI_ARGS", `IgnoreUnknown=${JSON.stringify(ignore.slice(0, 80))} is neither 1 nor 0`);
  const unknown = [...args.keys()].filter((key) => !knownArgs.has(key));
  if (unknown.length > 0 && ignore !== "1" && ignore !== "true")
    throw invalid("CNI_ARGS", `${unknown.join(", ").slice(0, 200)}: unknown; IgnoreUnknown=1 lets them pass`);
  return args;
}

/** Which pod it is: of Kubernetes where the runtime says so, else nobody's. */
function podOf(args: ReadonlyMap<string, string>): Partial<CniRequest> {
  const podNamespace = args.get("K8S_POD_NAMESPACE") ?? "";
  const podName = args.get("K8S_POD_NAME") ?? "";
  if (podNamespace === "" && podName === "") return {};
  // RFC 1123: what Kubernetes lets a name be.
  for (const [key, value] of Object.entries({ K8S_POD_NAMESPACE: podNamespace, K8S_POD_NAME: podName })) {
    if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(value))
      throw invalid("CNI_ARGS", `${key}=${JSON.stringify(value.slice(0, 80))} is no name of Kubernetes`);
  }
  return { podNamespace, podName, podUid: args.get("K8S_POD_UID") ?? "" };
}

// ---------------------------------------------------------------- configuration

function readConfig(text: string, leastVersion: CniVersion, command: string): JsonObject {
  const settings = parsed(text);
  if (settings === undefined)
    throw new CniError(cniCodes.decoding, "read the network configuration: standard input is no JSON object");
  const version = settings["cniVersion"];
  if (!isKnown(version)) {
    throw new CniError(
      cniCodes.incompatibleVersion,
      `network configuration: cniVersion ${JSON.stringify(version) ?? "(none)"} is not supported`,
      `supported: ${cniVersions.join(", ")}`,
    );
  }
  if (cniVersions.indexOf(version) < cniVersions.indexOf(leastVersion)) {
    throw new CniError(
      cniCodes.incompatibleVersion,
      `${command} came with CNI ${leastVersion}; the network configuration has cniVersion ${version}`,
      `set cniVersion to ${leastVersion} or later, or cniVersions to all that are supported`,
    );
  }
  const name = settings["name"];
  if (typeof name !== "string" || !/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new CniError(
      cniCodes.invalidConfig,
      `network configuration: name ${JSON.stringify(name) ?? "(none)"} is no name of a network`,
      "a letter or digit, then letters, digits, underscores, dots and hyphens",
    );
  }
  return settings;
}

/** Keys with a meaning of the specification's own that Fairlead does not give them: refused rather than ignored. */
function refuseUnsupported(settings: JsonObject): void {
  const ipam = objectAt(settings, "ipam");
  const type = ipam?.["type"];
  if (type !== undefined && type !== "fairlead") {
    throw new CniError(
      cniCodes.unsupportedField,
      `network configuration: ipam.type ${JSON.stringify(type)} is not supported`,
      "Fairlead gives addresses itself, from the node's pod ranges (Node spec.podCIDRs): leave ipam out",
    );
  }
  if (settings["ipMasq"] === false) {
    throw new CniError(
      cniCodes.unsupportedField,
      "network configuration: ipMasq false is not supported",
      "packets to the outside always leave with the node's address: leave ipMasq out",
    );
  }
}

function validIds(settings: JsonObject): ReadonlySet<string> {
  const key = "cni.dev/valid-attachments";
  // libcni leaves the key out, or writes null, where nothing is valid; cni.dev/attachments is what it was called by mistake (cni#1101).
  const list = settings[key] ?? settings["cni.dev/attachments"] ?? [];
  if (!Array.isArray(list)) throw new CniError(cniCodes.invalidConfig, `GC: ${key} is no list`);
  return new Set(
    list.map((entry: unknown) => {
      const { containerID, ifname } = (isObject(entry) ? entry : {}) as { containerID?: unknown; ifname?: unknown };
      if (typeof containerID !== "string" || typeof ifname !== "string")
        throw new CniError(cniCodes.invalidConfig, `GC: an entry of ${key} has no containerID or no ifname`);
      return attachmentId(containerID, ifname);
    }),
  );
}

// ---------------------------------------------------------------- capabilities

function portMappings(runtime: JsonObject): CniRequest["portMappings"] {
  const list = runtime["portMappings"] ?? [];
  if (!Array.isArray(list)) throw badCapability("portMappings", list);
  return list.flatMap((entry: unknown) => {
    const mapping = isObject(entry) ? entry : {};
    const hostPort = valueOf(mapping, "hostPort");
    const containerPort = valueOf(mapping, "containerPort");
    const named = valueOf(mapping, "protocol") ?? "tcp";
    const protocol = typeof named === "string" ? named.toLowerCase() : undefined;
    if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") throw badCapability("portMappings", entry);
    // Runtimes list ports without a host port too.
    if (hostPort === undefined || hostPort === 0) return [];
    if (!isPort(hostPort) || !isPort(containerPort)) throw badCapability("portMappings", entry);
    const hostIp = valueOf(mapping, "hostIP") ?? "";
    if (hostIp === "" || hostIp === "0.0.0.0" || hostIp === "::") return [{ hostPort, containerPort, protocol }];
    const address = typeof hostIp === "string" ? parseAddress(hostIp) : undefined;
    if (address === undefined) throw badCapability("portMappings", entry);
    return [{ hostPort, containerPort, protocol, hostIp: address }];
  });
}

// CONVENTIONS.md: `ips` of runtimeConfig, else of args.cni, else IP of CNI_ARGS. The length of a prefix says nothing here: pods have /32 and /128.
function requestedAddresses(
  runtime: JsonObject,
  settings: JsonObject,
  args: ReadonlyMap<string, string>,
): readonly Address[] {
  const convention = objectAt(objectAt(settings, "args") ?? {}, "cni") ?? {};
  const { value: list, bad } = asked("ips", [
    ["runtimeConfig.ips", runtime["ips"]],
    ["args.cni.ips", convention["ips"]],
    ["IP", args.get("IP")?.split(",")],
  ]);
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw bad(list);
  const addresses = list.map((text: unknown) => {
    const address = typeof text === "string" ? (parseInterfaceAddress(text)?.address ?? parseAddress(text)) : undefined;
    if (address === undefined) throw bad(text);
    return address;
  });
  if (new Set(addresses.map(familyOf)).size < addresses.length)
    throw new CniError(cniCodes.invalidConfig, `ips ${addresses.join(", ")}: at most one address of a family`);
  return addresses;
}

function requestedMac(runtime: JsonObject, args: ReadonlyMap<string, string>): Mac | undefined {
  const { value, bad } = asked("mac", [
    ["runtimeConfig.mac", runtime["mac"]],
    ["MAC", args.get("MAC")],
  ]);
  if (value === undefined || value === "") return undefined;
  const mac = typeof value === "string" ? value.toLowerCase().replaceAll("-", ":") : "";
  // IEEE 802: the lowest bit of the first byte means a group; all zero is nobody.
  if (!/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/.test(mac) || mac === "00:00:00:00:00:00") throw bad(value);
  return mac;
}

/** The first of several places that says something, and the error that names it. A name without a dot is a key of CNI_ARGS. */
function asked(
  what: string,
  places: readonly (readonly [name: string, value: unknown])[],
): { readonly value: unknown; readonly bad: (value: unknown) => CniError } {
  const [name, value] = places.find(([, each]) => each !== undefined && each !== null) ?? [`runtimeConfig.${what}`];
  return {
    value,
    bad: (wrong) =>
      name.includes(".")
        ? badField(name, wrong)
        : invalid("CNI_ARGS", `${name}=${JSON.stringify(wrong).slice(0, 200)} cannot be read`),
  };
}

/** Capability `dns` in the words of a result. */
function runtimeDns(runtime: JsonObject): unknown {
  const dns = objectAt(runtime, "dns");
  if (dns === undefined) return undefined;
  return {
    nameservers: textsAt(dns, "servers", "runtimeConfig.dns"),
    search: textsAt(dns, "searches", "runtimeConfig.dns"),
    options: textsAt(dns, "options", "runtimeConfig.dns"),
  };
}

/** The configuration's own `dns`, which is passed on in the result: what is no list of texts there would be the runtime's trouble. */
function settingsDns(settings: JsonObject): JsonObject | undefined {
  const dns = objectAt(settings, "dns");
  if (dns === undefined) return undefined;
  for (const key of ["nameservers", "search", "options"]) textsAt(dns, key, "dns");
  const domain = dns["domain"];
  if (domain !== undefined && domain !== null && typeof domain !== "string") throw badField("dns.domain", domain);
  return dns;
}

function textsAt(object: JsonObject, key: string, of: string): readonly unknown[] | undefined {
  const value = valueOf(object, key) ?? undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((each) => typeof each === "string")) throw badField(`${of}.${key}`, value);
  return value;
}

/** The addresses a result gives an interface. */
function addressesOf(result: JsonObject, interfaceName: string): readonly Address[] {
  const interfaces = arrayAt(result, "interfaces");
  const own = interfaces.findIndex(
    (one) =>
      isObject(one) && one["name"] === interfaceName && typeof one["sandbox"] === "string" && one["sandbox"] !== "",
  );
  if (own < 0)
    throw new CniError(cniCodes.invalidConfig, `CHECK: prevResult has no interface ${interfaceName} of the sandbox`);
  return arrayAt(result, "ips").flatMap((one) => {
    if (!isObject(one) || one["interface"] !== own || typeof one["address"] !== "string") return [];
    const address = parseInterfaceAddress(one["address"])?.address;
    return address === undefined ? [] : [address];
  });
}

// ---------------------------------------------------------------- JSON

/** A key as Go reads it: containerd (go-cni) writes `HostPort`, CNI's conventions say `hostPort`, and Go's plugins take either. */
function valueOf(object: JsonObject, key: string): unknown {
  if (key in object) return object[key];
  const wanted = key.toLowerCase();
  return Object.entries(object).find(([name]) => name.toLowerCase() === wanted)?.[1];
}

function parsed(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A list of a previous result. Throws CniError 6. */
export function arrayAt(object: JsonObject, key: string): readonly unknown[] {
  const value = object[key] ?? [];
  if (!Array.isArray(value))
    throw new CniError(cniCodes.decoding, `network configuration: prevResult.${key} is no list`);
  return value;
}

function objectAt(object: JsonObject, key: string): JsonObject | undefined {
  const value = object[key];
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw new CniError(cniCodes.decoding, `network configuration: ${key} is no JSON object`);
  return value;
}

function isKnown(version: unknown): version is CniVersion {
  return (cniVersions as readonly unknown[]).includes(version);
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535;
}

function invalid(variable: string, problem: string): CniError {
  return new CniError(cniCodes.invalidEnvironment, `environment variable ${variable} ${problem}`);
}

function badCapability(key: string, value: unknown): CniError {
  return badField(`runtimeConfig.${key}`, value);
}

function badField(name: string, value: unknown): CniError {
  return new CniError(
    cniCodes.invalidConfig,
    `network configuration: ${name}: ${(JSON.stringify(value) ?? "nothing").slice(0, 200)} cannot be read`,
  );
}
