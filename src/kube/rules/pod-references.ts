// Rules for what a container is told of its own pod: fields and resources, as variables and as files.
// Wording: upstream's pkg/apis/core/validation.

import { qualifiedName } from "../formats.ts";
import type { ObjectFieldSelector, ResourceFieldSelector } from "../pod.ts";
import { child, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";

/** All that can be converted (pkg/apis/core/pods ConvertDownwardAPIFieldLabel); which of them may be used depends on the place. */
const known = new Set([
  "metadata.annotations",
  "metadata.labels",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.restartPolicy",
  "spec.serviceAccountName",
  "spec.schedulerName",
  "status.phase",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
]);

/** `metadata.name`, or `metadata.labels['app']`; `allowed` are those without a subscript. */
export function* fieldReference(
  { apiVersion = "v1", fieldPath }: ObjectFieldSelector,
  allowed: readonly string[],
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "fieldPath");
  if (fieldPath === "") {
    yield required(place);
    return;
  }
  const [, name = fieldPath, subscript] = /^(.*)\['(.*)'\]$/s.exec(fieldPath) ?? [];
  const isKnown =
    subscript === undefined ? known.has(name) : name === "metadata.annotations" || name === "metadata.labels";
  if (apiVersion !== "v1") {
    yield invalid(place, fieldPath, `error converting fieldPath: unsupported pod version: ${apiVersion}`);
    return;
  }
  if (!isKnown) {
    const problem = subscript === undefined ? "field label not supported" : "field label does not support subscript";
    yield invalid(place, fieldPath, `error converting fieldPath: ${problem}: ${name}`);
    return;
  }
  if (subscript === undefined) {
    if (!allowed.includes(name)) yield notSupported(place, name, allowed);
    return;
  }
  const key = name === "metadata.annotations" ? subscript.toLowerCase() : subscript;
  for (const problem of qualifiedName(key)) yield invalid(path, key, problem);
}

const resources: readonly string[] = [
  "limits.cpu",
  "limits.ephemeral-storage",
  "limits.memory",
  "requests.cpu",
  "requests.ephemeral-storage",
  "requests.memory",
];
const hugePages = /^(limits|requests)\.hugepages-/;
const amounts = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/** `limits.cpu`, and what it is divided by. */
export function* resourceReference(
  { resource, divisor = 0 }: ResourceFieldSelector,
  path: string,
): Iterable<FieldProblem> {
  if (resource === "") {
    yield required(child(path, "resource"));
    return;
  }
  if (!resources.includes(resource) && !hugePages.test(resource)) {
    yield notSupported(child(path, "resource"), resource, resources);
    return;
  }
  if ((parseQuantity(divisor) ?? 0) === 0) return;
  const isCpu = resource.endsWith(".cpu");
  const values = isCpu ? ["1m", "1"] : amounts;
  if (values.includes(String(divisor))) return;
  const what = isCpu
    ? "cpu"
    : resource.endsWith("memory")
      ? "memory"
      : hugePages.test(resource)
        ? "hugepages"
        : "local ephemeral storage";
  const list = isCpu ? "1m and 1" : amounts.join(", ");
  yield invalid(
    child(path, "divisor"),
    resource,
    `only divisor's values ${list} are supported with the ${what} resource`,
  );
}
