// LimitRanges: what containers get that ask for nothing, and how much a container, a pod or a claim may be (plugin/pkg/admission/limitranger).

import type { Container, Pod } from "../../../kube/kinds.ts";
import type { KubeObject } from "../../../kube/object.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { forbidden } from "../errors.ts";
import { amountOf, amountsOf, amountText, type Amounts } from "./amounts.ts";
import { podAmounts } from "./pod-resources.ts";

type Quantities = Readonly<Record<string, string>>;

/** core/v1 LimitRangeItem. */
interface Limit {
  readonly type: string;
  readonly max?: Quantities;
  readonly min?: Quantities;
  readonly default?: Quantities;
  readonly defaultRequest?: Quantities;
  readonly maxLimitRequestRatio?: Quantities;
}

const resource = { group: "", resource: "limitranges" };

function limitsFor({ store, object, kind, operation, actor }: AdmissionRequest): readonly Limit[] {
  if (kind.group !== "" || operation === "delete" || actor.subresource !== undefined) return [];
  // What runs cannot be made smaller.
  if (kind.resource === "pods" ? operation !== "create" : kind.resource !== "persistentvolumeclaims") return [];
  const { namespace = "" } = object.metadata;
  const ranges = store.list(resource, { namespace }).items;
  return ranges.flatMap(({ spec }) => (spec as { readonly limits?: readonly Limit[] } | undefined)?.limits ?? []);
}

/** Fills in what containers do not say. */
export const limitDefaults: Admission = (request) => {
  const { object, kind } = request;
  if (kind.resource !== "pods") return object;
  const limits = limitsFor(request).filter(({ type }) => type === "Container");
  return limits.reduce((pod: KubeObject, limit) => withDefaults(pod as Pod, limit), object);
};

const annotation = "kubernetes.io/limit-ranger";

function withDefaults(pod: Pod, { default: limits = {}, defaultRequest: requests = {} }: Limit): KubeObject {
  const said: string[] = [];
  const completed = (container: Container, word: string): Container => {
    const { resources = {} } = container;
    const missing = (wanted: Quantities, given: object = {}): Quantities =>
      Object.fromEntries(Object.entries(wanted).filter(([name]) => !Object.hasOwn(given, name)));
    const more = { requests: missing(requests, resources.requests), limits: missing(limits, resources.limits) };
    for (const [which, names] of [
      ["request", Object.keys(more.requests)],
      ["limit", Object.keys(more.limits)],
    ] as const)
      if (names.length > 0) said.push(`${[...names].sort().join(", ")} ${which} for ${word} ${container.name}`);
    const wantsAny = Object.keys(more.requests).length + Object.keys(more.limits).length > 0;
    if (!wantsAny) return container;
    return {
      ...container,
      resources: {
        ...resources,
        limits: { ...resources.limits, ...more.limits },
        requests: { ...resources.requests, ...more.requests },
      },
    };
  };
  const containers = pod.spec.containers.map((each) => completed(each, "container"));
  const initContainers = pod.spec.initContainers?.map((each) => completed(each, "init container"));
  if (said.length === 0) return pod;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      annotations: { ...pod.metadata.annotations, [annotation]: `LimitRanger plugin set: ${said.join("; ")}` },
    },
    spec: { ...pod.spec, containers, ...(initContainers === undefined ? {} : { initContainers }) },
  };
}

/** Refuses what is too small or too large. Throws StatusError 403. */
export const limitValidation: Validation = (request) => {
  const limits = limitsFor(request);
  if (limits.length === 0) return;
  const { object, kind } = request;
  const problems = limits.flatMap((limit) =>
    kind.resource === "pods" ? podProblems(object as Pod, limit) : claimProblems(object, limit),
  );
  if (problems.length === 0) return;
  const text = problems.length === 1 ? (problems[0] ?? "") : `[${problems.join(", ")}]`;
  throw forbidden({ group: "", resource: kind.resource, name: object.metadata.name }, text);
};

function podProblems(pod: Pod, limit: Limit): readonly string[] {
  switch (limit.type) {
    case "Container":
      return [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap(({ resources }) =>
        problemsOf(limit, amountsOf(resources?.requests), amountsOf(resources?.limits), resources ?? {}),
      );
    case "Pod":
      return problemsOf(limit, podAmounts(pod, "requests"), podAmounts(pod, "limits"), {
        requests: textsOf(podAmounts(pod, "requests")),
        limits: textsOf(podAmounts(pod, "limits")),
      });
    default:
      return [];
  }
}

function textsOf(amounts: Amounts): Quantities {
  return Object.fromEntries([...amounts].map(([name, amount]) => [name, amountText(amount)]));
}

function claimProblems(claim: KubeObject, limit: Limit): readonly string[] {
  if (limit.type !== "PersistentVolumeClaim") return [];
  const { resources = {} } = (claim["spec"] ?? {}) as { readonly resources?: { readonly requests?: Quantities } };
  const requests = amountsOf(resources.requests);
  const problems: string[] = [];
  for (const [name, text] of sorted(limit.min)) problems.push(...minimum(limit.type, name, text, requests, new Map()));
  for (const [name, text] of sorted(limit.max)) {
    const request = requests.get(name);
    const bound = amountOf(text)?.nanos ?? 0n;
    if (request === undefined)
      problems.push(`maximum ${name} usage per ${limit.type} is ${text}.  No request is specified`);
    else if (request.nanos > bound)
      problems.push(
        `maximum ${name} usage per ${limit.type} is ${text}, but request is ${shown(resources.requests, name)}`,
      );
  }
  return problems;
}

function sorted(quantities: Quantities = {}): readonly (readonly [string, string])[] {
  return Object.entries(quantities).sort(([a], [b]) => (a < b ? -1 : 1));
}

function shown(given: Readonly<Record<string, string | number>> | undefined, name: string): string {
  return String(given?.[name] ?? "");
}

interface Given {
  readonly requests?: Readonly<Record<string, string | number>>;
  readonly limits?: Readonly<Record<string, string | number>>;
}

function minimum(
  type: string,
  name: string,
  text: string,
  requests: Amounts,
  limits: Amounts,
  given: Given = {},
): readonly string[] {
  const bound = amountOf(text)?.nanos ?? 0n;
  const [request, limit] = [requests.get(name), limits.get(name)];
  const says = `minimum ${name} usage per ${type} is ${text}`;
  if (request === undefined) return [`${says}.  No request is specified`];
  if (request.nanos < bound) return [`${says}, but request is ${shown(given.requests, name)}`];
  return limit !== undefined && limit.nanos < bound ? [`${says}, but limit is ${shown(given.limits, name)}`] : [];
}

function problemsOf(range: Limit, requests: Amounts, limits: Amounts, given: Given): readonly string[] {
  const { type } = range;
  const problems: string[] = [];
  for (const [name, text] of sorted(range.min)) problems.push(...minimum(type, name, text, requests, limits, given));
  for (const [name, text] of sorted(range.max)) {
    const bound = amountOf(text)?.nanos ?? 0n;
    const [request, limit] = [requests.get(name), limits.get(name)];
    const says = `maximum ${name} usage per ${type} is ${text}`;
    if (limit === undefined) problems.push(`${says}.  No limit is specified`);
    else if (limit.nanos > bound) problems.push(`${says}, but limit is ${shown(given.limits, name)}`);
    else if (request !== undefined && request.nanos > bound)
      problems.push(`${says}, but request is ${shown(given.requests, name)}`);
  }
  for (const [name, text] of sorted(range.maxLimitRequestRatio)) {
    const bound = Number(amountOf(text)?.nanos ?? 0n) / 1e9;
    const [request, limit] = [requests.get(name)?.nanos ?? 0n, limits.get(name)?.nanos ?? 0n];
    const says = `${name} max limit to request ratio per ${type} is ${text}`;
    const ratio = Number(limit) / Number(request);
    if (request === 0n) problems.push(`${says}, but no request is specified or request is 0`);
    else if (limit === 0n) problems.push(`${says}, but no limit is specified or limit is 0`);
    else if (ratio > bound) problems.push(`${says}, but provided ratio is ${ratio.toFixed(6)}`);
  }
  return problems;
}
