// Why a name gives no address: what the client may have meant, from the Services and pods there are.
//
// Not here: names of the world outside, of which the cluster knows nothing.

import type { NetworkService } from "../model/network.ts";
import { podBehind } from "../model/service.ts";
import type { PolicyCause } from "./trace.ts";
import type { Start } from "./walk.ts";
import type { World } from "./world.ts";

/** At most so many names are told. */
const namesMax = 8;

/** Each with the object to look at; empty where the name looks like nobody's of the cluster. */
export function nameCauses(world: World, start: Start, host: string): readonly PolicyCause[] {
  const { domain } = world.zone.settings;
  const home = start.kind === "pod" ? start.pod.namespace : undefined;
  const asked = host.toLowerCase().replace(/\.$/, "");
  const bare = [`.svc.${domain}`, ".svc"].reduce(
    (name, end) => (name.endsWith(end) ? name.slice(0, -end.length) : name),
    asked,
  );
  const labels = bare.split(".");
  const [first = "", second = "", third] = labels;
  if (labels.length > 3 || (labels.length === 1 && bare !== asked)) return [];
  if (labels.length === 3) return podCauses(world, first, second, third ?? "");
  if (labels.length === 1) return home === undefined ? [] : serviceCauses(world, first, home);
  if (home !== undefined && serviceOf(world, second, home) !== undefined) return podCauses(world, first, second, home);
  const isNamespace = world.network.namespaces.some(({ name }) => name === second);
  // With two labels the last one may be of the world outside: example.com.
  if (!isNamespace && bare === asked) return [];
  return serviceCauses(world, first, second);
}

function serviceOf({ network }: World, name: string, namespace: string): NetworkService | undefined {
  return network.services.find((service) => service.name === name && service.namespace === namespace);
}

function serviceCauses(world: World, name: string, namespace: string): readonly PolicyCause[] {
  const own = serviceOf(world, name, namespace);
  if (own !== undefined)
    return own.headless
      ? [{ text: "a headless Service has the addresses of its ready endpoints, and none is ready", origin: own.origin }]
      : [];
  const { services, namespaces } = world.network;
  const there = namespaces.find((each) => each.name === namespace);
  const namespaceOrigin = there?.origin ?? { kind: "Namespace", name: namespace };
  const inside = services.filter((service) => service.namespace === namespace).map((service) => service.name);
  const missing =
    there === undefined
      ? `there is no namespace ${namespace}`
      : `namespace ${namespace} has no Service ${name}; it has: ${listed(inside)}`;
  const elsewhere = services.filter((service) => service.name === name);
  return [
    { text: missing, origin: namespaceOrigin },
    ...elsewhere.slice(0, namesMax).map((service) => ({
      text: `from other namespaces it is asked for as ${service.name}.${service.namespace}`,
      origin: service.origin,
    })),
  ];
}

/** A name of one endpoint: its pod's `hostname` below the Service that is its `subdomain`. */
function podCauses(world: World, hostname: string, service: string, namespace: string): readonly PolicyCause[] {
  const found = serviceOf(world, service, namespace);
  if (found === undefined) return serviceCauses(world, service, namespace);
  const pod = world.network.pods.find(
    (each) => each.namespace === namespace && (each.hostname ?? each.name) === hostname,
  );
  if (pod === undefined) {
    const endpoints = [...found.ports.flatMap((port) => port.endpoints), ...(found.endpoints ?? [])];
    const names = [...new Set(endpoints.flatMap((endpoint) => endpoint.hostname ?? []))];
    return [{ text: `no pod ${hostname} is behind it; by name there are: ${listed(names)}`, origin: found.origin }];
  }
  if (pod.subdomain === service && pod.hostname !== undefined) {
    const isBehind = found.ports.some((port) =>
      port.endpoints.some((each) => podBehind(each) === `${namespace}/${pod.name}`),
    );
    return isBehind
      ? [{ text: "its pod is not ready", origin: pod.origin }]
      : [{ text: `the Service does not select pod ${pod.name}`, origin: { ...found.origin, field: "spec.selector" } }];
  }
  const right =
    pod.subdomain === undefined || pod.hostname === undefined ? undefined : `${pod.hostname}.${pod.subdomain}`;
  const text =
    right === undefined
      ? `a pod has a name below a Service by spec.hostname and spec.subdomain, and ${pod.name} has not both`
      : `the name of pod ${pod.name} is ${right}: its spec.subdomain is ${pod.subdomain ?? ""}`;
  return [{ text, origin: { ...pod.origin, field: "spec.subdomain" } }];
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "none";
  return `${names.slice(0, namesMax).join(", ")}${names.length > namesMax ? " …" : ""}`;
}
