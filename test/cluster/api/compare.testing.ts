// Sends the same requests to Fairlead's API server and to the real one and tells where their answers differ: status, reason, the fields
// that an error names and why, warnings, and the object, without what is by chance (uids, times, versions, addresses).
//
// Not here: starting servers (test/cluster/api.cluster.ts), what is sent (the tables beside this file).

import { Agent, request } from "node:https";
import process from "node:process";

import type { Case } from "./case.testing.ts";

export interface Server {
  readonly port: number;
  readonly certificate: string;
  readonly key: string;
}

export interface Client {
  send(method: string, path: string, body?: object): Promise<Answer>;
  close(): void;
}

interface Answer {
  readonly status: number;
  readonly warnings: readonly string[];
  readonly body: unknown;
}

/** A client that keeps its connections. Errors of the connection reject. */
export function clientOf({ port, certificate, key }: Server): Client {
  const agent = new Agent({ keepAlive: true, cert: certificate, key, rejectUnauthorized: false });
  return {
    send: (method, path, body) =>
      new Promise((resolve, reject) => {
        const text = body === undefined ? "" : JSON.stringify(body);
        const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
        const headers = {
          "user-agent": "compare",
          accept: "application/json",
          ...(body === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(text) }),
        };
        const sent = request({ agent, host: "127.0.0.1", port, method, path, headers }, (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("error", reject);
          response.on("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              warnings: warningsOf(response.headers["warning"]),
              body: jsonOf(Buffer.concat(parts).toString()),
            }),
          );
        });
        sent.on("error", reject);
        sent.end(text);
      }),
    close: () => agent.destroy(),
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

// RFC 7234 5.5: `299 - "text"`, several of them separated by commas.
function warningsOf(header: string | string[] | undefined): readonly string[] {
  const text = Array.isArray(header) ? header.join(", ") : (header ?? "");
  return [...text.matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)]
    .map((match) => (match[1] ?? "").replace(/\\(.)/g, "$1"))
    .sort();
}

export const namespace = "compared";

/** Makes what cases are made in. */
export async function prepare(client: Client, name: string = namespace): Promise<void> {
  await client.send("POST", "/api/v1/namespaces", { metadata: { name } });
  await client.send("POST", `/api/v1/namespaces/${name}/serviceaccounts`, { metadata: { name: "default" } });
}

const clusterWide: ReadonlySet<string> = new Set(
  `namespaces nodes persistentvolumes apiservices ingressclasses ipaddresses servicecidrs clusterroles clusterrolebindings csidrivers
  csinodes storageclasses volumeattachments volumeattributesclasses mutatingadmissionpolicies mutatingadmissionpolicybindings
  mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations
  customresourcedefinitions priorityclasses runtimeclasses flowschemas prioritylevelconfigurations certificatesigningrequests
  subjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews selfsubjectreviews tokenreviews gatewayclasses
  clusternetworkpolicies componentstatuses`
    .trim()
    .split(/\s+/),
);

/** `/apis/apps/v1/namespaces/compared/deployments`. */
function collectionOf(resource: string): string {
  const [plural = "", version = "", group] = resource.split("/").toReversed();
  const root = group === undefined ? `/api/${version}` : `/apis/${group}/${version}`;
  return clusterWide.has(plural) ? `${root}/${plural}` : `${root}/namespaces/${namespace}/${plural}`;
}

export interface Difference {
  /** `networkpolicies: an exception outside of its range, changed (2)`. */
  readonly step: string;
  /** Lines such as `cause spec.x FieldValueInvalid: only the real one`. */
  readonly lines: readonly string[];
}

/** Sends a case to both; empty where all answers are alike. The object is deleted in the end. */
export async function compare(each: Case, ours: Client, real: Client): Promise<readonly Difference[]> {
  const differences: Difference[] = [];
  const collection = collectionOf(each.resource);
  const both = async (step: string, method: string, path: string, body?: object): Promise<number> => {
    const [a, b] = await Promise.all([ours.send(method, path, body), real.send(method, path, body)]);
    const lines = linesOf(a, b);
    if (lines.length > 0) differences.push({ step, lines });
    return b.status;
  };
  // What is asked and not kept has no name.
  const isReview = each.resource.endsWith("reviews");
  const name = each.object.metadata?.name ?? "it";
  const object = isReview ? each.object : { ...each.object, metadata: { name, ...each.object.metadata } };
  await both(each.name, "POST", collection, object);
  for (const [index, { subresource, patch }] of each.changes.entries()) {
    const path = `${collection}/${name}${subresource === "" ? "" : `/${subresource}`}`;
    const step = `${each.name}, ${subresource === "" ? "" : `${subresource} `}changed (${index + 1})`;
    if (patch === undefined) await both(step, "DELETE", path);
    else await both(step, subresource === "eviction" || subresource === "token" ? "POST" : "PATCH", path, patch);
  }
  if (isReview) return differences;
  for (const client of [ours, real]) await remove(client, `${collection}/${name}`);
  return differences;
}

async function remove(client: Client, path: string): Promise<void> {
  const { status } = await client.send("DELETE", `${path}?gracePeriodSeconds=0`);
  if (status === 404 || status === 405) return;
  const left = await client.send("GET", path);
  if (left.status === 200) await client.send("PATCH", path, { metadata: { finalizers: null } });
}

function linesOf(ours: Answer, real: Answer): readonly string[] {
  const lines: string[] = [];
  if (ours.status !== real.status)
    lines.push(`status ${ours.status}, the real one ${real.status} (${sayOf(ours.status < 300 ? real : ours)})`);
  lines.push(...listLines("warning", ours.warnings, real.warnings));
  if (ours.status !== real.status) return lines;
  if (real.status >= 300) {
    lines.push(...listLines("reason", [reasonOf(ours)], [reasonOf(real)]));
    lines.push(...listLines("cause", causesOf(ours), causesOf(real)));
    return lines;
  }
  const [a, b] = [fieldsOf(ours.body), fieldsOf(real.body)];
  for (const field of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(field) !== b.get(field))
      lines.push(`object ${field}: ${a.get(field) ?? "absent"}, the real one ${b.get(field) ?? "absent"}`);
  }
  return lines;
}

function sayOf({ body }: Answer): string {
  return String((body as { readonly message?: string }).message).slice(0, 300);
}

function reasonOf({ body }: Answer): string {
  return String((body as { readonly reason?: string }).reason);
}

export interface Cause {
  readonly field?: string;
  readonly reason?: string;
  readonly message?: string;
}

function causesOf({ body }: Answer): readonly string[] {
  const { causes = [] } = (body as { readonly details?: { readonly causes?: readonly Cause[] } }).details ?? {};
  return causes.map(causeText).sort();
}

/** What an error names, and why; in its own words as well where those are compared. */
export function causeText({ field, reason, message = "" }: Cause): string {
  return `${field} ${reason}${withMessages ? ` ${chanceless(message)}` : ""}`;
}

/** Are the words of messages compared? */
export const withMessages: boolean = process.env["FAIRLEAD_COMPARE_MESSAGES"] === "1";

/** What is on one side only. How often a thing is said is of no use to anybody: updates look at metadata twice. */
function listLines(what: string, ours: readonly string[], real: readonly string[]): readonly string[] {
  const [extra, rest] = [new Set(ours).difference(new Set(real)), new Set(real).difference(new Set(ours))];
  return [
    ...[...extra].map((text) => `${what} ${text}: only ours`),
    ...[...rest].map((text) => `${what} ${text}: only the real one's`),
  ];
}

/** What is the request's, or a matter of bytes: managed fields and zeros have tests of their own. */
const unseen = new Set(["resourceVersion", "managedFields", "generation", "creationTimestamp", "selfLink"]);

function fieldsOf(body: unknown): Map<string, string> {
  const fields = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (Array.isArray(value)) value.forEach((element, index) => walk(element, `${path}[${index}]`));
    else if (typeof value === "object" && value !== null) {
      for (const [name, element] of Object.entries(value))
        if (!unseen.has(name)) walk(element, path === "" ? name : `${path}.${name}`);
    } else if (value !== null && value !== "" && value !== 0) fields.set(path, chanceless(JSON.stringify(value), path));
  };
  walk(body, "");
  return fields;
}

/** A text without what is by chance. */
export function chanceless(text: string, path = ""): string {
  if (/\.(nodePort|healthCheckNodePort)$/.test(path)) return "a port";
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UID")
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "TIME")
    .replace(/10\.96\.\d+\.\d+/g, "ADDRESS")
    .replace(/kube-api-access-\w+/g, "kube-api-access");
}
