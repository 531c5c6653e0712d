// What a write does to an object of a kind, beyond defaults and validation: rows of small functions, most kinds have none.
// This is what upstream keeps in pkg/registry/*/strategy.go.
//
// Not here: defaults (kube/defaults.ts), validation (kube/validate.ts), allocation of addresses and ports (an Admission).

import type { CertificateSigningRequest, RequestCondition } from "../../kube/certificate-request.ts";
import { sameJson } from "../../kube/equal.ts";
import type {
  Container,
  Job,
  LabelSelector,
  LabelSelectorRequirement,
  Namespace,
  Pod,
  PodAffinity,
  Service,
} from "../../kube/kinds.ts";
import type { KubeObject, Labels } from "../../kube/object.ts";
import { remembered } from "../../kube/repeated.ts";
import type { Actor } from "./api.ts";
import { timeText } from "./bookkeeping.ts";
import { forbidden } from "./errors.ts";

export interface Strategy {
  /** Does a client's status survive creation? Only for kinds that are reported rather than asked for. */
  readonly keepsStatus?: boolean;
  /** The object as somebody creates it; its name and uid are set. */
  readonly prepareCreate?: (object: KubeObject, nowMs: number, actor: Actor) => KubeObject;
  /** The object as it replaces a previous one. */
  readonly prepareUpdate?: (object: KubeObject, previous: KubeObject, nowMs: number) => KubeObject;
  /** The object with a status that is written through a subresource: `status`, or a door of its own. */
  readonly prepareStatus?: (object: KubeObject, previous: KubeObject, nowMs: number, subresource: string) => KubeObject;
  /** The object as it is when its deletion begins. Throws StatusError 403 where it must not go. */
  readonly prepareDelete?: (object: KubeObject) => KubeObject;
  /** Seconds between the mark of deletion and the end. */
  readonly gracePeriodSeconds?: (object: KubeObject, requested: number | undefined) => number;
}

/** The strategy of a resource, named as `deployments.apps`. */
export function strategyOf(resource: string): Strategy {
  return strategies[resource] ?? none;
}

const none: Strategy = {};

/** Namespaces that stay (apiserver plugin/namespace/lifecycle). */
const immortal: ReadonlySet<string> = new Set(["default", "kube-system", "kube-public"]);

const strategies: { readonly [resource: string]: Strategy } = {
  namespaces: {
    prepareCreate: (object) => ({
      ...object,
      spec: {
        ...(object as Namespace).spec,
        finalizers: [...new Set([...((object as Namespace).spec?.finalizers ?? []), "kubernetes"])],
      },
      status: { phase: "Active" },
    }),
    // Absent keeps them, an empty list (what the namespace controller writes at the end) takes them away.
    prepareUpdate: (object, previous) => ({
      ...object,
      spec: { ...(previous as Namespace).spec, ...(object as Namespace).spec },
    }),
    prepareDelete(object) {
      const { name } = object.metadata;
      if (immortal.has(name))
        throw forbidden({ group: "", resource: "namespaces", name }, "this namespace may not be deleted");
      return { ...object, status: { ...(object as Namespace).status, phase: "Terminating" } };
    },
  },
  nodes: { keepsStatus: true },
  pods: {
    prepareCreate: (object, nowMs) => newPod(object as Pod, nowMs),
    prepareUpdate: (object, previous, nowMs) => scheduledPod(object as Pod, previous as Pod, nowMs),
    gracePeriodSeconds: (object, requested) => podGraceSeconds(object as Pod, requested),
  },
  services: {
    prepareCreate: (object) => ({ ...object, status: { loadBalancer: {} } }),
    prepareUpdate: (object) => withoutBalancer(object as Service),
  },
  // Who asks for a certificate is who sent the request; what was asked for stays.
  "certificatesigningrequests.certificates.k8s.io": {
    prepareCreate: (object, _, { username, uid, groups, extra = {} }) => {
      const given = (object as CertificateSigningRequest).spec;
      const { username: _username, uid: _uid, groups: _groups, extra: _extra, ...spec } = given;
      const hasExtra = Object.keys(extra).length > 0;
      return {
        ...object,
        spec: { ...spec, username, ...(uid !== undefined && { uid }), groups, ...(hasExtra && { extra }) },
      };
    },
    prepareUpdate: (object, previous) => ({ ...object, spec: previous["spec"] }),
    prepareStatus: (object, previous, nowMs, subresource) =>
      answeredRequest(object as CertificateSigningRequest, previous as CertificateSigningRequest, nowMs, subresource),
  },
  "ingresses.networking.k8s.io": { prepareCreate: (object) => ({ ...object, status: { loadBalancer: {} } }) },
  persistentvolumeclaims: { prepareCreate: (object) => ({ ...object, status: { phase: "Pending" } }) },
  persistentvolumes: {
    prepareCreate: (object, nowMs) => ({
      ...object,
      status: { phase: "Pending", lastPhaseTransitionTime: timeText(nowMs) },
    }),
  },
  "daemonsets.apps": {
    prepareCreate: (object) => withTemplateGeneration(object, 1),
    prepareUpdate: (object, previous) => {
      const isSame = sameJson(templateOf(object), templateOf(previous));
      const before = Number(previous.metadata.annotations?.[templateGeneration] ?? 1);
      return withTemplateGeneration(object, isSame ? before : before + 1);
    },
  },
  "jobs.batch": { prepareCreate: (object) => jobWithSelector(object as Job) },
};

// pkg/registry/certificates/certificates/strategy.go: through `approval` come conditions alone; through `status` approvals and denials stay.
function answeredRequest(
  request: CertificateSigningRequest,
  previous: CertificateSigningRequest,
  nowMs: number,
  subresource: string,
): KubeObject {
  const before = previous.status?.conditions ?? [];
  const isApproval = subresource === "approval";
  const conditions = (request.status?.conditions ?? []).map((given) => {
    const isSettled = !isApproval && ["Approved", "Denied"].includes(given.type);
    return (isSettled ? before.find(({ type }) => type === given.type) : undefined) ?? dated(given, before, nowMs);
  });
  const { conditions: _, ...rest } = (isApproval ? previous : request).status ?? {};
  return { ...request, status: { ...rest, ...(conditions.length > 0 && { conditions }) } };
}

function dated(condition: RequestCondition, before: readonly RequestCondition[], nowMs: number): RequestCondition {
  const { lastUpdateTime = timeText(nowMs), lastTransitionTime } = condition;
  const same = before.find(({ type, status }) => type === condition.type && status === condition.status);
  return {
    ...condition,
    lastUpdateTime,
    lastTransitionTime: lastTransitionTime ?? same?.lastTransitionTime ?? timeText(nowMs),
  };
}

// pkg/registry/core/pod/strategy.go PrepareForCreate: the status of a pod that nobody has looked at, and selectors completed with the pod's labels.
function newPod(pod: Pod, nowMs: number): KubeObject {
  const status = { phase: "Pending", qosClass: qosClass(pod) } as const;
  const gated = {
    type: "PodScheduled",
    status: "False",
    lastTransitionTime: timeText(nowMs),
    reason: "SchedulingGated",
    message: "Scheduling is blocked due to non-empty scheduling gates",
  };
  const isGated = (pod.spec.schedulingGates ?? []).length > 0;
  return { ...withOwnLabels(withProfiles(pod)), status: isGated ? { ...status, conditions: [gated] } : status };
}

const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/";

// applyAppArmorVersionSkew: what annotations said once is said by fields.
function withProfiles(pod: Pod): Pod {
  const annotations = pod.metadata.annotations ?? {};
  if (!Object.keys(annotations).some((name) => name.startsWith(appArmorPrefix))) return pod;
  const profiled = <T extends Container>(each: T): T => {
    const profile = profileOf(annotations[`${appArmorPrefix}${each.name}`]);
    const context = each.securityContext as { readonly appArmorProfile?: object } | undefined;
    if (profile === undefined || context?.appArmorProfile !== undefined) return each;
    return { ...each, securityContext: { ...context, appArmorProfile: profile } };
  };
  const { containers, initContainers } = pod.spec;
  const spec = {
    ...pod.spec,
    containers: containers.map(profiled),
    ...(initContainers !== undefined && { initContainers: initContainers.map(profiled) }),
  };
  return { ...pod, spec };
}

function profileOf(text: string | undefined): object | undefined {
  if (text === "unconfined") return { type: "Unconfined" };
  if (text === "runtime/default") return { type: "RuntimeDefault" };
  const local = /^localhost\/(.+)$/.exec(text ?? "")?.[1];
  return local === undefined ? undefined : { type: "Localhost", localhostProfile: local };
}

// applyMatchLabelKeys, applyMatchLabelKeysAndMismatchLabelKeys
function withOwnLabels(pod: Pod): Pod {
  const { topologySpreadConstraints: spreads, affinity } = pod.spec;
  if (spreads === undefined && affinity === undefined) return pod;
  const labels = pod.metadata.labels ?? {};
  const complete = <T extends OwnKeys>(term: T): T => withKeys(term, labels);
  const ofPods = (side: PodAffinity): PodAffinity => ({
    ...side,
    ...(side.requiredDuringSchedulingIgnoredDuringExecution !== undefined && {
      requiredDuringSchedulingIgnoredDuringExecution: side.requiredDuringSchedulingIgnoredDuringExecution.map(complete),
    }),
    ...(side.preferredDuringSchedulingIgnoredDuringExecution !== undefined && {
      preferredDuringSchedulingIgnoredDuringExecution: side.preferredDuringSchedulingIgnoredDuringExecution.map(
        (each) => ({ ...each, podAffinityTerm: complete(each.podAffinityTerm) }),
      ),
    }),
  });
  const spec = {
    ...pod.spec,
    ...(spreads !== undefined && { topologySpreadConstraints: spreads.map(complete) }),
    ...(affinity !== undefined && {
      affinity: {
        ...affinity,
        ...(affinity.podAffinity !== undefined && { podAffinity: ofPods(affinity.podAffinity) }),
        ...(affinity.podAntiAffinity !== undefined && { podAntiAffinity: ofPods(affinity.podAntiAffinity) }),
      },
    }),
  };
  // What comes again as the same value stays it.
  return sameJson(spec, pod.spec) ? pod : { ...pod, spec };
}

interface OwnKeys {
  readonly labelSelector?: LabelSelector;
  readonly matchLabelKeys?: readonly string[];
  readonly mismatchLabelKeys?: readonly string[];
}

function withKeys<T extends OwnKeys>(term: T, labels: Labels): T {
  const { labelSelector, matchLabelKeys = [], mismatchLabelKeys = [] } = term;
  if (labelSelector === undefined || matchLabelKeys.length + mismatchLabelKeys.length === 0) return term;
  const expressions = (keys: readonly string[], operator: "In" | "NotIn"): LabelSelectorRequirement[] =>
    keys.flatMap((key) => (labels[key] === undefined ? [] : [{ key, operator, values: [labels[key]] }]));
  const added = [...expressions(matchLabelKeys, "In"), ...expressions(mismatchLabelKeys, "NotIn")];
  // Admission may have changed the pod: then this is done once more.
  const before = labelSelector.matchExpressions ?? [];
  const missing = added.filter((each) => !before.some((other) => sameJson(other, each)));
  return missing.length === 0
    ? term
    : { ...term, labelSelector: { ...labelSelector, matchExpressions: [...before, ...missing] } };
}

const templateGeneration = "deprecated.daemonset.template.generation";

function templateOf({ spec }: KubeObject): unknown {
  return (spec as { readonly template?: unknown } | undefined)?.template;
}

// pkg/registry/apps/daemonset/strategy.go: how often the template has changed, which old clients read.
function withTemplateGeneration(object: KubeObject, generation: number): KubeObject {
  const annotations = { ...object.metadata.annotations, [templateGeneration]: String(generation) };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

// pkg/registry/core/service/strategy.go dropTypeDependentFields: what is no load balancer has no addresses of one.
function withoutBalancer(service: Service): KubeObject {
  const { ingress = [] } = service.status?.loadBalancer ?? {};
  if (service.spec.type === "LoadBalancer" || ingress.length === 0) return service;
  return { ...service, status: { ...service.status, loadBalancer: {} } };
}

// pkg/registry/core/pod/storage assignPod: who gives a pod its node says in the same write that it is scheduled.
function scheduledPod(pod: Pod, previous: Pod, nowMs: number): KubeObject {
  if ((previous.spec.nodeName ?? "") !== "" || (pod.spec.nodeName ?? "") === "") return pod;
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== "PodScheduled");
  const scheduled = { type: "PodScheduled", status: "True", lastTransitionTime: timeText(nowMs) } as const;
  return { ...pod, status: { ...pod.status, conditions: [...others, scheduled] } };
}

// pkg/registry/core/pod/strategy.go CheckGracefulDelete: a pod that runs nowhere or no more goes at once.
function podGraceSeconds({ spec, status }: Pod, requested: number | undefined): number {
  if ((spec.nodeName ?? "") === "" || status?.phase === "Succeeded" || status?.phase === "Failed") return 0;
  const seconds = requested ?? spec.terminationGracePeriodSeconds ?? 30;
  return seconds < 0 ? 1 : seconds;
}

// pkg/apis/core/v1/helper/qos: Guaranteed where every container limits cpu and memory, BestEffort where none asks for anything.
function qosClass({ spec }: Pod): QosClass {
  return remembered(spec, "qos", () => qosClassOf(spec));
}

type QosClass = "BestEffort" | "Burstable" | "Guaranteed";

function qosClassOf(spec: Pod["spec"]): QosClass {
  const resources = [...spec.containers, ...(spec.initContainers ?? [])].map((container) => container.resources ?? {});
  const asks = resources.some(({ limits = {}, requests = {} }) =>
    ["cpu", "memory"].some((name) => name in limits || name in requests),
  );
  if (!asks) return "BestEffort";
  const guaranteed = resources.every(({ limits = {}, requests = limits }) =>
    ["cpu", "memory"].every(
      (name) => name in limits && String(requests[name] ?? limits[name]) === String(limits[name]),
    ),
  );
  return guaranteed ? "Guaranteed" : "Burstable";
}

// pkg/registry/batch/job/strategy.go generateSelector: a Job finds its pods by its own uid unless told otherwise.
function jobWithSelector(job: Job): KubeObject {
  if (job.spec.manualSelector === true) return job;
  const { uid = "", name } = job.metadata;
  const { template } = job.spec;
  const labels = {
    ...template.metadata?.labels,
    "controller-uid": uid,
    "batch.kubernetes.io/controller-uid": uid,
    "job-name": name,
    "batch.kubernetes.io/job-name": name,
  };
  const selector = {
    ...job.spec.selector,
    matchLabels: { ...job.spec.selector?.matchLabels, "batch.kubernetes.io/controller-uid": uid },
  };
  // A Job without labels of its own has those of its pods.
  const own = job.metadata.labels ?? {};
  const isOwn = Object.keys(own).length > 0 && !sameJson(own, template.metadata?.labels);
  return {
    ...job,
    metadata: { ...job.metadata, labels: isOwn ? own : labels },
    spec: {
      ...job.spec,
      manualSelector: false,
      selector,
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}
