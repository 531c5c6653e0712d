// The checks of the Pod Security Standards as rows, in upstream's words (pod-security-admission/policy, as of 1.36).
// Older versions of a level (label `…-version`) are judged by today's checks.

import type { Container, Pod } from "../../../kube/kinds.ts";

interface Capabilities {
  readonly add?: readonly string[];
  readonly drop?: readonly string[];
}

interface SecurityContext {
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly capabilities?: Capabilities;
  readonly runAsNonRoot?: boolean;
  readonly runAsUser?: number;
  readonly procMount?: string;
  readonly seccompProfile?: { readonly type?: string };
  readonly appArmorProfile?: { readonly type?: string };
  readonly seLinuxOptions?: { readonly type?: string; readonly user?: string; readonly role?: string };
  readonly windowsOptions?: { readonly hostProcess?: boolean };
  readonly sysctls?: readonly { readonly name: string }[];
}

type Handler = { readonly httpGet?: { readonly host?: string }; readonly tcpSocket?: { readonly host?: string } };

type CheckedContainer = Omit<Container, "securityContext" | "ports"> & {
  readonly securityContext?: SecurityContext;
  readonly ports?: readonly { readonly hostPort?: number }[];
  readonly livenessProbe?: Handler;
  readonly readinessProbe?: Handler;
  readonly startupProbe?: Handler;
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler };
};

/** A pod, or a template of pods, as far as it is judged. */
export interface CheckedPod {
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: {
    readonly containers: readonly CheckedContainer[];
    readonly initContainers?: readonly CheckedContainer[];
    readonly ephemeralContainers?: readonly CheckedContainer[];
    readonly securityContext?: SecurityContext;
    readonly hostNetwork?: boolean;
    readonly hostPID?: boolean;
    readonly hostIPC?: boolean;
    readonly hostUsers?: boolean;
    readonly os?: { readonly name?: string };
    readonly volumes?: readonly { readonly name: string }[];
  };
}

/** What is wrong: a reason and, in parentheses, who does what. */
interface Violation {
  readonly reason: string;
  readonly detail: string;
}

type Check = (pod: CheckedPod) => Violation | undefined;

export type Level = "privileged" | "baseline" | "restricted";

/** What a pod does that a level does not allow. */
export function violations(pod: CheckedPod, level: Level): readonly Violation[] {
  if (level === "privileged") return [];
  const rows = level === "baseline" ? baseline : [...baseline.filter(({ id }) => !overridden.has(id)), ...restricted];
  return rows.flatMap(({ check }) => check(pod) ?? []);
}

interface Row {
  readonly id: string;
  readonly check: Check;
}

function all({ spec }: CheckedPod): readonly CheckedContainer[] {
  return [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])];
}

function namesOf(pod: CheckedPod, isBad: (container: CheckedContainer) => boolean): readonly string[] {
  return all(pod)
    .filter(isBad)
    .map(({ name }) => name);
}

function plural(word: string, count: number): string {
  return count === 1 ? word : `${word}s`;
}

function quoted(list: Iterable<string>): string {
  return [...list].map((each) => `"${each}"`).join(", ");
}

function containersText(names: readonly string[]): string {
  return `${plural("container", names.length)} ${quoted(names)}`;
}

/** `pod and containers "a", "b"`; undefined where it is nobody. */
function settersText(isPod: boolean, names: readonly string[]): string | undefined {
  const setters = [...(isPod ? ["pod"] : []), ...(names.length > 0 ? [containersText(names)] : [])];
  return setters.length === 0 ? undefined : setters.join(" and ");
}

function sorted(values: Iterable<string>): readonly string[] {
  return [...new Set(values)].sort();
}

function contextsOf(pod: CheckedPod): readonly SecurityContext[] {
  return [pod.spec.securityContext, ...all(pod).map(({ securityContext }) => securityContext)].flatMap(
    (each) => each ?? [],
  );
}

function isWindows({ spec }: CheckedPod): boolean {
  return spec.os?.name === "windows";
}

/** KEP-127: in a user namespace, root is nobody outside of it. */
function isInUserNamespace({ spec }: CheckedPod): boolean {
  return spec.hostUsers === false;
}

const appArmorTypes = new Set(["RuntimeDefault", "Localhost"]);
const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/";

const appArmor: Check = (pod) => {
  const isBad = (context: SecurityContext | undefined): boolean =>
    context?.appArmorProfile !== undefined && !appArmorTypes.has(context.appArmorProfile.type ?? "");
  const names = namesOf(pod, ({ securityContext }) => isBad(securityContext));
  const annotations = Object.entries(pod.annotations)
    .filter(([key, value]) => key.startsWith(appArmorPrefix) && !/^(?:|runtime\/default|localhost\/.*)$/.test(value))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .sort();
  const values = [
    ...sorted(
      contextsOf(pod)
        .filter(isBad)
        .map(({ appArmorProfile }) => appArmorProfile?.type ?? ""),
    ),
    ...annotations,
  ];
  const setters = [
    ...(isBad(pod.spec.securityContext) ? ["pod"] : []),
    ...(names.length > 0 ? [containersText(names)] : []),
    ...(annotations.length > 0 ? [plural("annotation", annotations.length)] : []),
  ];
  if (setters.length === 0) return undefined;
  return {
    reason: plural("forbidden AppArmor profile", values.length),
    detail: `${setters.join(" and ")} must not set AppArmor profile type to ${quoted(values)}`,
  };
};

const defaultCapabilities = new Set(
  "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split(
    " ",
  ),
);

const capabilitiesBaseline: Check = (pod) => {
  const extra = ({ securityContext }: CheckedContainer): readonly string[] =>
    (securityContext?.capabilities?.add ?? []).filter((each) => !defaultCapabilities.has(each));
  const names = namesOf(pod, (container) => extra(container).length > 0);
  if (names.length === 0) return undefined;
  return {
    reason: "non-default capabilities",
    detail: `${containersText(names)} must not include ${quoted(sorted(all(pod).flatMap(extra)))} in securityContext.capabilities.add`,
  };
};

const hostNamespaces: Check = ({ spec }) => {
  const used = (["hostNetwork", "hostPID", "hostIPC"] as const).filter((name) => spec[name] === true);
  return used.length === 0
    ? undefined
    : { reason: "host namespaces", detail: used.map((name) => `${name}=true`).join(", ") };
};

const hostPathVolumes: Check = ({ spec }) => {
  const names = (spec.volumes ?? []).filter((volume) => "hostPath" in volume).map(({ name }) => name);
  return names.length === 0
    ? undefined
    : { reason: "hostPath volumes", detail: `${plural("volume", names.length)} ${quoted(names)}` };
};

const hostPorts: Check = (pod) => {
  const used = ({ ports = [] }: CheckedContainer): readonly string[] =>
    ports.flatMap(({ hostPort = 0 }) => (hostPort === 0 ? [] : [String(hostPort)]));
  const names = namesOf(pod, (container) => used(container).length > 0);
  if (names.length === 0) return undefined;
  const numbers = sorted(all(pod).flatMap(used));
  return {
    reason: "hostPort",
    detail: `${containersText(names)} ${names.length === 1 ? "uses" : "use"} ${plural("hostPort", numbers.length)} ${numbers.join(", ")}`,
  };
};

const probeHosts: Check = (pod) => {
  const hosts = (container: CheckedContainer): readonly string[] =>
    [
      container.livenessProbe,
      container.readinessProbe,
      container.startupProbe,
      container.lifecycle?.postStart,
      container.lifecycle?.preStop,
    ].flatMap((handler) =>
      [handler?.httpGet?.host ?? "", handler?.tcpSocket?.host ?? ""].filter((host) => host !== ""),
    );
  const names = sorted(namesOf(pod, (container) => hosts(container).length > 0));
  if (names.length === 0) return undefined;
  const used = sorted(all(pod).flatMap(hosts));
  return {
    reason: "probe or lifecycle host",
    detail: `${containersText(names)} ${names.length === 1 ? "uses" : "use"} ${plural("probe or lifecycle host", used.length)} ${quoted(used)}`,
  };
};

const privileged: Check = (pod) => {
  const names = namesOf(pod, ({ securityContext }) => securityContext?.privileged === true);
  return names.length === 0
    ? undefined
    : { reason: "privileged", detail: `${containersText(names)} must not set securityContext.privileged=true` };
};

const procMount =
  (relaxed: boolean): Check =>
  (pod) => {
    if (relaxed && isInUserNamespace(pod)) return undefined;
    const isBad = ({ securityContext }: CheckedContainer): boolean =>
      securityContext?.procMount !== undefined && securityContext.procMount !== "Default";
    const names = namesOf(pod, isBad);
    if (names.length === 0) return undefined;
    const types = sorted(
      all(pod)
        .filter(isBad)
        .map(({ securityContext }) => securityContext?.procMount ?? ""),
    );
    return {
      reason: "procMount",
      detail: `${containersText(names)} must not set securityContext.procMount to ${quoted(types)}`,
    };
  };

const seLinuxTypes = new Set(["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"]);

const seLinux: Check = (pod) => {
  const isBad = (context: SecurityContext | undefined): boolean => {
    const { type = "", user = "", role = "" } = context?.seLinuxOptions ?? {};
    return !seLinuxTypes.has(type) || user !== "" || role !== "";
  };
  const setters = settersText(
    isBad(pod.spec.securityContext),
    namesOf(pod, ({ securityContext }) => isBad(securityContext)),
  );
  if (setters === undefined) return undefined;
  const options = contextsOf(pod).flatMap(({ seLinuxOptions }) => seLinuxOptions ?? []);
  const types = sorted(options.map(({ type = "" }) => type).filter((type) => !seLinuxTypes.has(type)));
  const data = [
    ...(types.length > 0 ? [`${plural("type", types.length)} ${quoted(types)}`] : []),
    ...(options.some(({ user = "" }) => user !== "") ? ["user may not be set"] : []),
    ...(options.some(({ role = "" }) => role !== "") ? ["role may not be set"] : []),
  ];
  return {
    reason: "seLinuxOptions",
    detail: `${setters} set forbidden securityContext.seLinuxOptions: ${data.join("; ")}`,
  };
};

const seccompTypes = new Set(["RuntimeDefault", "Localhost"]);

const seccomp =
  (isRequired: boolean): Check =>
  (pod) => {
    if (isRequired && isWindows(pod)) return undefined;
    const isBad = (context: SecurityContext | undefined): boolean =>
      context?.seccompProfile !== undefined && !seccompTypes.has(context.seccompProfile.type ?? "");
    const podContext = pod.spec.securityContext;
    const setters = settersText(
      isBad(podContext),
      namesOf(pod, ({ securityContext }) => isBad(securityContext)),
    );
    if (setters !== undefined) {
      const types = sorted(
        contextsOf(pod)
          .filter(isBad)
          .map(({ seccompProfile }) => seccompProfile?.type ?? ""),
      );
      return {
        reason: "seccompProfile",
        detail: `${setters} must not set securityContext.seccompProfile.type to ${quoted(types)}`,
      };
    }
    if (!isRequired || podContext?.seccompProfile !== undefined) return undefined;
    const names = namesOf(pod, ({ securityContext }) => securityContext?.seccompProfile === undefined);
    if (names.length === 0) return undefined;
    return {
      reason: "seccompProfile",
      detail: `pod or ${containersText(names)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
    };
  };

const safeSysctls = new Set([
  "kernel.shm_rmid_forced",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range",
  "net.ipv4.ip_unprivileged_port_start",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_fin_timeout",
  "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes",
  "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_wmem",
]);

const sysctls: Check = ({ spec }) => {
  const bad = (spec.securityContext?.sysctls ?? []).map(({ name }) => name).filter((name) => !safeSysctls.has(name));
  return bad.length === 0 ? undefined : { reason: "forbidden sysctls", detail: bad.join(", ") };
};

const hostProcess: Check = (pod) => {
  const isBad = (context: SecurityContext | undefined): boolean => context?.windowsOptions?.hostProcess === true;
  const setters = settersText(
    isBad(pod.spec.securityContext),
    namesOf(pod, ({ securityContext }) => isBad(securityContext)),
  );
  return setters === undefined
    ? undefined
    : { reason: "hostProcess", detail: `${setters} must not set securityContext.windowsOptions.hostProcess=true` };
};

const escalation: Check = (pod) => {
  if (isWindows(pod)) return undefined;
  const names = namesOf(pod, ({ securityContext }) => securityContext?.allowPrivilegeEscalation !== false);
  return names.length === 0
    ? undefined
    : {
        reason: "allowPrivilegeEscalation != false",
        detail: `${containersText(names)} must set securityContext.allowPrivilegeEscalation=false`,
      };
};

const capabilitiesRestricted: Check = (pod) => {
  if (isWindows(pod)) return undefined;
  const extra = ({ securityContext }: CheckedContainer): readonly string[] =>
    (securityContext?.capabilities?.add ?? []).filter((each) => each !== "NET_BIND_SERVICE");
  const keeping = namesOf(pod, ({ securityContext }) => securityContext?.capabilities?.drop?.includes("ALL") !== true);
  const adding = namesOf(pod, (container) => extra(container).length > 0);
  const details = [
    ...(keeping.length > 0 ? [`${containersText(keeping)} must set securityContext.capabilities.drop=["ALL"]`] : []),
    ...(adding.length > 0
      ? [
          `${containersText(adding)} must not include ${quoted(sorted(all(pod).flatMap(extra)))} in securityContext.capabilities.add`,
        ]
      : []),
  ];
  return details.length === 0 ? undefined : { reason: "unrestricted capabilities", detail: details.join("; ") };
};

const volumeTypes = new Set(
  "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split(" "),
);

const restrictedVolumes: Check = ({ spec }) => {
  const typeOf = (volume: object): string => Object.keys(volume).find((key) => key !== "name") ?? "unknown";
  const bad = (spec.volumes ?? []).filter((volume) => !volumeTypes.has(typeOf(volume)));
  if (bad.length === 0) return undefined;
  const types = sorted(bad.map(typeOf));
  return {
    reason: "restricted volume types",
    detail: `${plural("volume", bad.length)} ${quoted(bad.map(({ name }) => name))} ${bad.length === 1 ? "uses" : "use"} ${plural("restricted volume type", types.length)} ${quoted(types)}`,
  };
};

const nonRoot: Check = (pod) => {
  if (isInUserNamespace(pod)) return undefined;
  const own = pod.spec.securityContext?.runAsNonRoot;
  const setters = settersText(
    own === false,
    namesOf(pod, ({ securityContext }) => securityContext?.runAsNonRoot === false),
  );
  const reason = "runAsNonRoot != true";
  if (setters !== undefined) return { reason, detail: `${setters} must not set securityContext.runAsNonRoot=false` };
  if (own === true) return undefined;
  const names = namesOf(pod, ({ securityContext }) => securityContext?.runAsNonRoot === undefined);
  return names.length === 0
    ? undefined
    : { reason, detail: `pod or ${containersText(names)} must set securityContext.runAsNonRoot=true` };
};

const rootUser: Check = (pod) => {
  if (isInUserNamespace(pod)) return undefined;
  const setters = settersText(
    pod.spec.securityContext?.runAsUser === 0,
    namesOf(pod, ({ securityContext }) => securityContext?.runAsUser === 0),
  );
  return setters === undefined ? undefined : { reason: "runAsUser=0", detail: `${setters} must not set runAsUser=0` };
};

/** Upstream's order: by their ids. */
const baseline: readonly Row[] = [
  { id: "appArmorProfile", check: appArmor },
  { id: "capabilities_baseline", check: capabilitiesBaseline },
  { id: "hostNamespaces", check: hostNamespaces },
  { id: "hostPathVolumes", check: hostPathVolumes },
  { id: "hostPorts", check: hostPorts },
  { id: "hostProbesAndHostLifecycle", check: probeHosts },
  { id: "privileged", check: privileged },
  { id: "procMount", check: procMount(true) },
  { id: "seLinuxOptions", check: seLinux },
  { id: "seccompProfile_baseline", check: seccomp(false) },
  { id: "sysctls", check: sysctls },
  { id: "windowsHostProcess", check: hostProcess },
];

const restricted: readonly Row[] = [
  { id: "allowPrivilegeEscalation", check: escalation },
  { id: "capabilities_restricted", check: capabilitiesRestricted },
  { id: "procMount_restricted", check: procMount(false) },
  { id: "restrictedVolumes", check: restrictedVolumes },
  { id: "runAsNonRoot", check: nonRoot },
  { id: "runAsUser", check: rootUser },
  { id: "seccompProfile_restricted", check: seccomp(true) },
];

/** Checks of the baseline that a stricter one takes the place of. */
const overridden = new Set(["capabilities_baseline", "hostPathVolumes", "procMount", "seccompProfile_baseline"]);

/** A pod's, or a pod template's, part that is judged. */
export function checkedPod({
  metadata,
  spec,
}: {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: Pod["spec"];
}): CheckedPod {
  return { annotations: metadata?.annotations ?? {}, spec };
}
