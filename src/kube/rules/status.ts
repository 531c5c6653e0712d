// Rules for what is reported of objects: statuses that are written by themselves. Most may say anything.
// Wording: upstream's pkg/apis/*/validation, the functions Validate…StatusUpdate.

import { parseAddress } from "../../ip/address.ts";
import { dnsSubdomain, ipAddress } from "../formats.ts";
import type { Ingress, Service } from "../kinds.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { podStatus } from "./pod-update.ts";
import { formProblems, type UpdateRule } from "./rule.ts";

/** What is wrong with an object's status, by the type of the object; the previous object has the same specification. */
export const statusRules: { readonly [type: string]: UpdateRule } = {
  "core.v1.Pod": podStatus,
  "core.v1.Service": serviceStatus,
  "networking.v1.Ingress": function* ({ status }: Ingress) {
    yield* ingressPoints(status?.loadBalancer?.ingress ?? []);
  },
};

interface IngressPoint {
  readonly ip?: string;
  readonly ipMode?: string;
  readonly hostname?: string;
}

const place = "status.loadBalancer.ingress";
const ipModes: readonly string[] = ["Proxy", "VIP"];

function* serviceStatus({ spec, status }: Service): Iterable<FieldProblem> {
  const points: readonly IngressPoint[] = status?.loadBalancer?.ingress ?? [];
  if (spec.type !== "LoadBalancer" && points.length > 0) {
    yield forbidden(place, "may only be used when `spec.type` is 'LoadBalancer'");
    return;
  }
  yield* ingressPoints(points);
  for (const [index, { ip = "", ipMode }] of points.entries()) {
    const path = child(at(place, index), "ipMode");
    if (ipMode === undefined) {
      if (ip !== "") yield required(path, "must be specified when `ip` is set");
    } else if (ip === "") yield forbidden(path, "may not be specified when `ip` is not set");
    else if (!ipModes.includes(ipMode)) yield notSupported(path, ipMode, ipModes);
  }
}

function* ingressPoints(points: readonly IngressPoint[]): Iterable<FieldProblem> {
  for (const [index, { ip, hostname = "" }] of points.entries()) {
    yield* formProblems(ip, ipAddress, child(at(place, index), "ip"));
    yield* formProblems(hostname, dnsSubdomain, child(at(place, index), "hostname"));
    if (parseAddress(hostname) !== undefined)
      yield invalid(child(at(place, index), "hostname"), hostname, "must be a DNS name, not an IP address");
  }
}
