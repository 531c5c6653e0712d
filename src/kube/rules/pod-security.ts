// Rules for what pods and containers may do: security contexts, the host's namespaces, operating systems.
// Wording: upstream's pkg/apis/core/validation.

import { dnsSubdomain } from "../formats.ts";
import type { Container, PodSpec } from "../pod.ts";
import { at, child, duplicate, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { insidePath } from "./pod-volumes.ts";
import type { Rules } from "./rule.ts";

export const securityRules: Rules = {
  "core.v1.SecurityContext": securityContext,
  "core.v1.PodSecurityContext": podSecurityContext,
  "core.v1.SeccompProfile": seccomp,
  "core.v1.AppArmorProfile": appArmor,
  "core.v1.WindowsSecurityContextOptions": windowsOptions,
};

const idMax = 2 ** 31 - 1;

function* identity(id: number | undefined, path: string): Iterable<FieldProblem> {
  if (id !== undefined && (id < 0 || id > idMax)) yield invalid(path, id, `must be between 0 and ${idMax}, inclusive`);
}

interface Identities {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
}

interface Context extends Identities {
  readonly allowPrivilegeEscalation?: boolean;
  readonly privileged?: boolean;
  readonly capabilities?: { readonly add?: readonly string[] };
}

function* securityContext(context: Context, path: string): Iterable<FieldProblem> {
  yield* identity(context.runAsUser, child(path, "runAsUser"));
  yield* identity(context.runAsGroup, child(path, "runAsGroup"));
  if (context.allowPrivilegeEscalation !== false) return;
  const why = "cannot set `allowPrivilegeEscalation` to false and";
  if (context.privileged === true) yield invalid(path, context, `${why} \`privileged\` to true`);
  if (context.capabilities?.add?.includes("CAP_SYS_ADMIN") === true)
    yield invalid(path, context, `${why} \`capabilities.Add\` CAP_SYS_ADMIN`);
}

interface PodContext extends Identities {
  readonly fsGroup?: number;
  readonly supplementalGroups?: readonly number[];
  readonly sysctls?: readonly { readonly name: string }[];
}

// RFC-less: sysctl(8)'s names, with dots or slashes.
const sysctlName = /^(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?$/;
const sysctlLengthMax = 253;

function* podSecurityContext(context: PodContext, path: string): Iterable<FieldProblem> {
  for (const field of ["fsGroup", "runAsUser", "runAsGroup"] as const)
    yield* identity(context[field], child(path, field));
  for (const [index, group] of (context.supplementalGroups ?? []).entries())
    yield* identity(group, at(child(path, "supplementalGroups"), index));
  const names = new Set<string>();
  for (const [index, { name }] of (context.sysctls ?? []).entries()) {
    const place = child(at(child(path, "sysctls"), index), "name");
    if (name === "") yield required(place);
    else if (name.length > sysctlLengthMax || !sysctlName.test(name))
      yield invalid(place, name, `must have at most ${sysctlLengthMax} characters and match regex ${sysctlForm}`);
    else if (names.has(name)) yield duplicate(place, name);
    names.add(name);
  }
}

const sysctlForm = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

interface Profile {
  readonly type: string;
  readonly localhostProfile?: string;
}

function* seccomp({ type, localhostProfile }: Profile, path: string): Iterable<FieldProblem> {
  const place = child(path, "localhostProfile");
  if (type !== "Localhost") {
    if (localhostProfile !== undefined)
      yield invalid(place, localhostProfile, "can only be set when seccomp type is Localhost");
  } else if (localhostProfile === undefined) yield required(place, "must be set when seccomp type is Localhost");
  else yield* insidePath(localhostProfile, place);
}

function* appArmor({ type, localhostProfile }: Profile, path: string): Iterable<FieldProblem> {
  const place = child(path, "localhostProfile");
  if (type !== "Localhost") {
    if (localhostProfile !== undefined)
      yield invalid(place, localhostProfile, "can only be set when AppArmor type is Localhost");
    return;
  }
  const profile = localhostProfile ?? "";
  if (profile.trim() !== profile) yield invalid(place, profile, "must not be padded with whitespace");
  else if (profile === "") yield required(place, "must be set when AppArmor type is Localhost");
}

interface WindowsOptions {
  readonly gmsaCredentialSpecName?: string;
  readonly gmsaCredentialSpec?: string;
  readonly runAsUserName?: string;
}

function* windowsOptions(options: WindowsOptions, path: string): Iterable<FieldProblem> {
  const { gmsaCredentialSpecName: name, gmsaCredentialSpec: spec, runAsUserName: user } = options;
  if (name !== undefined)
    for (const problem of dnsSubdomain(name)) yield invalid(child(path, "gmsaCredentialSpecName"), name, problem);
  if (spec === "")
    yield invalid(child(path, "gmsaCredentialSpec"), spec, "gmsaCredentialSpec cannot be an empty string");
  if (user === "") yield invalid(child(path, "runAsUserName"), user, "runAsUserName cannot be an empty string");
}

/** Namespaces of the host, users of its own, and what an operating system cannot have. */
export function* hostProblems(spec: PodSpec, path: string): Iterable<FieldProblem> {
  const { hostNetwork, hostPID, hostIPC, hostUsers, shareProcessNamespace } = spec;
  if (shareProcessNamespace === true && hostPID === true)
    yield invalid(
      child(path, "securityContext.shareProcessNamespace"),
      true,
      "ShareProcessNamespace and HostPID cannot both be enabled",
    );
  yield* hostSysctls(spec, child(path, "securityContext.sysctls"));
  if (hostUsers === false) {
    const why = "when `hostUsers` is false";
    if (hostNetwork === true) yield forbidden(child(path, "hostNetwork"), why);
    // Upstream's capital letters.
    if (hostPID === true) yield forbidden(child(path, "HostPID"), why);
    if (hostIPC === true) yield forbidden(child(path, "HostIPC"), why);
    for (const [{ volumeDevices = [] }, place] of containersOf(spec, path))
      if (volumeDevices.length > 0) yield forbidden(child(place, "volumeDevices"), why);
  } else if (hasContext(spec.containers) || hasContext(spec.initContainers) || hasContext(spec.ephemeralContainers))
    for (const [{ securityContext: context }, place] of containersOf(spec, path))
      if (context?.procMount === "Unmasked")
        yield invalid(
          child(place, "securityContext.procMount"),
          "Unmasked",
          "`hostUsers` must be false to use `Unmasked`",
        );
  yield* operatingSystem(spec, path);
}

// pkg/apis/core/validation sysctl: which namespace a setting belongs to.
const sysctlNamespaces = [
  { prefix: "net.", field: "hostNetwork" },
  { prefix: "kernel.shm", field: "hostIPC" },
  { prefix: "kernel.msg", field: "hostIPC" },
  { prefix: "kernel.sem", field: "hostIPC" },
  { prefix: "fs.mqueue.", field: "hostIPC" },
] as const;

function* hostSysctls(spec: PodSpec, path: string): Iterable<FieldProblem> {
  for (const [index, { name }] of (spec.securityContext?.sysctls ?? []).entries()) {
    const found = sysctlNamespaces.find(({ prefix }) => name.replaceAll("/", ".").startsWith(prefix));
    if (found !== undefined && spec[found.field] === true)
      yield invalid(`${at(path, index)}.name`, name, `may not be specified when '${found.field}' is true`);
  }
}

function hasContext(containers: readonly Container[] | undefined): boolean {
  return containers?.some(({ securityContext: context }) => context !== undefined) === true;
}

function containersOf(spec: PodSpec, path: string): readonly (readonly [Container, string])[] {
  return (["initContainers", "containers", "ephemeralContainers"] as const).flatMap((field) =>
    (spec[field] ?? []).map((each, index) => [each, at(child(path, field), index)] as const),
  );
}

const systems: readonly string[] = ["linux", "windows"];

const ofPod = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] as const;
const ofPodContext: readonly string[] = [
  "appArmorProfile",
  "seLinuxOptions",
  "seccompProfile",
  "fsGroup",
  "fsGroupChangePolicy",
  "sysctls",
  "runAsUser",
  "runAsGroup",
  "supplementalGroups",
  "supplementalGroupsPolicy",
  "seLinuxChangePolicy",
];
const ofContext: readonly string[] = [
  "appArmorProfile",
  "seLinuxOptions",
  "seccompProfile",
  "capabilities",
  "readOnlyRootFilesystem",
  "privileged",
  "allowPrivilegeEscalation",
  "procMount",
  "runAsUser",
  "runAsGroup",
];

type Fields = { readonly [field: string]: unknown };

function* operatingSystem(spec: PodSpec, path: string): Iterable<FieldProblem> {
  const { os } = spec;
  if (os === undefined) return;
  if (os.name === "") {
    yield required(child(path, "os.name"));
    return;
  }
  if (!systems.includes(os.name)) yield notSupported(child(path, "os"), os.name, systems);
  const context = (spec.securityContext ?? {}) as Fields;
  const containers = containersOf(spec, path);
  if (os.name === "linux") {
    const why = "windows options cannot be set for a linux pod";
    const field = "securityContext.windowsOptions";
    if (context["windowsOptions"] !== undefined) yield forbidden(child(path, field), why);
    for (const [each, place] of containers)
      if (((each.securityContext ?? {}) as Fields)["windowsOptions"] !== undefined)
        yield forbidden(child(place, field), why);
  }
  if (os.name !== "windows") return;
  const why = "cannot be set for a windows pod";
  for (const field of ofPod) {
    const value = spec[field];
    const isSet = field === "hostPID" || field === "hostIPC" ? value === true : value !== undefined;
    if (isSet) yield forbidden(child(path, field), why);
  }
  for (const field of ofPodContext)
    if (context[field] !== undefined) yield forbidden(child(path, `securityContext.${field}`), why);
  for (const [each, place] of containers)
    for (const field of ofContext)
      if (((each.securityContext ?? {}) as Fields)[field] !== undefined)
        yield forbidden(child(place, `securityContext.${field}`), why);
}
