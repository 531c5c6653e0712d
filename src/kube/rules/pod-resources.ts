// Rules for what containers and pods ask for: amounts, claims, policies of restarts. Wording: upstream's pkg/apis/core/validation.

import { dnsLabel, dnsSubdomain, qualifiedName } from "../formats.ts";
import type { Container, PodSpec, ResourceRequirements } from "../pod.ts";
import {
  at,
  child,
  duplicate,
  forbidden,
  invalid,
  notSupported,
  required,
  tooMany,
  type FieldProblem,
} from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { formProblems, type Rules } from "./rule.ts";

export const resourceRules: Rules = { "core.v1.ResourceRequirements": resources };

const ofContainers: readonly string[] = ["cpu", "memory", "ephemeral-storage"];
const ofPods: readonly string[] = ["cpu", "hugepages-", "memory"];
/** What quotas and limits count besides. */
const standard = new Set([
  ...ofContainers,
  ...["cpu", "memory", "ephemeral-storage"].flatMap((name) => [`requests.${name}`, `limits.${name}`]),
  ...(
    "pods resourcequotas services replicationcontrollers secrets configmaps persistentvolumeclaims storage " +
    "requests.storage services.nodeports services.loadbalancers"
  ).split(" "),
]);

const isHugePages = (name: string): boolean => name.startsWith("hugepages-");
const isNative = (name: string): boolean => !name.includes("/") || name.includes("kubernetes.io/");
/** Devices and the like: counted in whole numbers, never promised twice. */
const isExtended = (name: string): boolean =>
  !isNative(name) && !name.startsWith("requests.") && qualifiedName(`requests.${name}`).length === 0;

function* resources({ limits = {}, requests = {} }: ResourceRequirements, path: string): Iterable<FieldProblem> {
  const isOfPod = /(^|\.)spec\.resources$/.test(path);
  for (const [field, quantities] of Object.entries({ limits, requests }))
    for (const [name, quantity] of Object.entries(quantities)) {
      const place = at(child(path, field), name);
      yield* isOfPod ? podName(name, place) : containerName(name, place);
      yield* amount(name, quantity, place);
    }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    const mayPromise = isNative(name) && !isHugePages(name);
    const [asked, most] = [parseQuantity(request) ?? 0, parseQuantity(limit ?? 0) ?? 0];
    if (limit === undefined) {
      if (!mayPromise) yield required(child(path, "limits"), "Limit must be set for non overcommitable resources");
    } else if (!mayPromise && asked !== most)
      yield invalid(child(path, "requests"), String(request), `must be equal to ${name} limit of ${limit}`);
    else if (asked > most)
      yield invalid(
        child(path, "requests"),
        String(request),
        `must be less than or equal to ${name} limit of ${limit}`,
      );
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes("cpu") && !names.includes("memory"))
    yield forbidden(path, "HugePages require cpu or memory");
}

function* amount(name: string, quantity: string | number, path: string): Iterable<FieldProblem> {
  const value = parseQuantity(quantity) ?? 0;
  if (value < 0) yield invalid(path, String(quantity), "must be greater than or equal to 0");
  if (isExtended(name) && !Number.isInteger(value)) yield invalid(path, String(quantity), "must be an integer");
}

function* resourceName(name: string, path: string): Iterable<FieldProblem> {
  const malformed = qualifiedName(name);
  for (const problem of malformed) yield invalid(path, name, problem);
  if (malformed.length === 0 && !name.includes("/") && !standard.has(name) && !isHugePages(name))
    yield invalid(path, name, "must be a standard resource type or fully qualified");
}

function* containerName(name: string, path: string): Iterable<FieldProblem> {
  yield* resourceName(name, path);
  if (!name.includes("/")) {
    if (!ofContainers.includes(name) && !isHugePages(name))
      yield invalid(path, name, "must be a standard resource for containers");
  } else if (!isNative(name) && !isExtended(name))
    yield invalid(path, name, "doesn't follow extended resource name standard");
}

function* podName(name: string, path: string): Iterable<FieldProblem> {
  const problems = [...resourceName(name, path)];
  yield* problems;
  if (problems.length === 0 && !ofPods.includes(name) && !isHugePages(name)) yield notSupported(path, name, ofPods);
}

interface Claim {
  readonly name?: string;
  readonly resourceClaimName?: string;
  readonly resourceClaimTemplateName?: string;
}

/** The claims of a pod, and of each container the ones that it uses. */
export function* claimProblems(spec: PodSpec, path: string): Iterable<FieldProblem> {
  const { resourceClaims: claims = [] } = spec as { readonly resourceClaims?: readonly Claim[] };
  const names = claims.map(({ name = "" }) => name);
  for (const [index, { name = "", resourceClaimName, resourceClaimTemplateName }] of claims.entries()) {
    const place = at(child(path, "resourceClaims"), index);
    if (name !== "" && names.indexOf(name) === index) yield* formProblems(name, dnsLabel, child(place, "name"));
    const isEither = (resourceClaimName === undefined) !== (resourceClaimTemplateName === undefined);
    if (!isEither)
      yield invalid(
        place,
        claims[index],
        resourceClaimName === undefined
          ? "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
          : "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
      );
    yield* formProblems(resourceClaimName, dnsSubdomain, child(place, "resourceClaimName"));
    yield* formProblems(resourceClaimTemplateName, dnsSubdomain, child(place, "resourceClaimTemplateName"));
  }
  for (const field of ["initContainers", "containers"] as const)
    for (const [index, each] of (spec[field] ?? []).entries())
      if (each.resources?.claims !== undefined)
        yield* usedClaims(each, names, `${at(child(path, field), index)}.resources.claims`);
}

function* usedClaims({ resources: asked }: Container, names: readonly string[], path: string): Iterable<FieldProblem> {
  const seen = new Set<string>();
  const detail = names.length === 0 ? " which is empty" : `: ${names.join(", ")}`;
  for (const [index, { name, request = "" }] of (asked?.claims ?? []).entries()) {
    const place = at(path, index);
    if (name === "") {
      yield required(place);
      continue;
    }
    const key = request === "" ? name : `${name}/${request}`;
    if (seen.has(name) || seen.has(key)) yield duplicate(place, name);
    seen.add(key);
    if (!names.includes(name))
      yield {
        field: place,
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(name)}: must be one of the names in pod.spec.resourceClaims${detail}`,
      };
  }
}

interface Restarting {
  readonly resizePolicy?: readonly { readonly resourceName?: string; readonly restartPolicy?: string }[];
  readonly restartPolicyRules?: readonly {
    readonly action?: string;
    readonly exitCodes?: { readonly operator?: string; readonly values?: readonly number[] };
  }[];
}

const actions: readonly string[] = ["Restart", "RestartAllContainers"];
const exitOperators: readonly string[] = ["In", "NotIn"];
const policies: readonly string[] = ["Always", "Never", "OnFailure"];
const resizable: readonly string[] = ["cpu", "memory"];
const resizing: readonly string[] = ["NotRequired", "RestartContainer"];
const rulesMax = 20;

/** When a container is restarted, and what a change of its resources does. */
export function* restarts(each: Container, ofPod: string | undefined, path: string): Iterable<FieldProblem> {
  const { resizePolicy = [], restartPolicyRules = [] } = each as Restarting;
  const { restartPolicy } = each;
  if (restartPolicy === undefined && restartPolicyRules.length === 0 && resizePolicy.length === 0) return;
  if (restartPolicy === undefined) {
    if (restartPolicyRules.length > 0)
      yield required(child(path, "restartPolicy"), "must specify restartPolicy when restart rules are used");
  } else if (!policies.includes(restartPolicy))
    yield notSupported(child(path, "restartPolicy"), restartPolicy, policies);
  if (restartPolicyRules.length > rulesMax)
    yield tooMany(child(path, "restartPolicyRules"), restartPolicyRules.length, rulesMax);
  for (const [index, { action, exitCodes }] of restartPolicyRules.entries()) {
    const place = at(child(path, "restartPolicyRules"), index);
    if (!actions.includes(action ?? "")) yield notSupported(child(place, "action"), action ?? "", actions);
    if (exitCodes === undefined) yield required(child(place, "exitCodes"), "must be specified");
    else if (!exitOperators.includes(exitCodes.operator ?? ""))
      yield notSupported(child(place, "exitCodes.operator"), exitCodes.operator ?? "", exitOperators);
  }
  const seen = new Set<string>();
  const list = child(path, "resizePolicy");
  for (const [index, { resourceName: name = "", restartPolicy: policy = "" }] of resizePolicy.entries()) {
    if (seen.has(name)) yield duplicate(at(list, index), name);
    seen.add(name);
    // Upstream does not say which of them.
    if (name === "") yield required(list);
    else if (!resizable.includes(name)) yield notSupported(list, name, resizable);
    if (policy === "") yield required(list);
    else if (!resizing.includes(policy)) yield notSupported(list, policy, resizing);
    if (ofPod === "Never" && policy !== "NotRequired")
      yield invalid(list, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
  }
}
