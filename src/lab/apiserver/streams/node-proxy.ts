// What `nodes/NAME/proxy/…` answers in the kubelet's place: the few paths that people and test suites ask a kubelet for.
// The lab's kubelets are no servers: they are parts of this process.

import type { ServerResponse } from "node:http";
import type { Pod } from "../../../kube/kinds.ts";
import type { ObjectApi } from "../../api/api.ts";
import type { StreamNode } from "./pod-streams.ts";
import { serveLog } from "./logs.ts";

/** Answers a request to the kubelet of a node. `path` begins with a slash. */
export async function answerAsKubelet(
  request: {
    readonly api: Pick<ObjectApi, "get" | "list">;
    readonly node: string;
    readonly place: StreamNode | undefined;
    readonly path: string;
    readonly query: URLSearchParams;
    readonly method: string;
  },
  response: ServerResponse,
): Promise<void> {
  const { api, node, place, path, query } = request;
  const send = (status: number, type: string, body: string): void =>
    void response
      .writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) })
      .end(request.method === "HEAD" ? "" : body);
  const text = "text/plain; charset=utf-8";
  if (place?.kubelet === undefined)
    return send(502, text, `error trying to reach service: the kubelet of node ${node} does not run\n`);
  if (request.method !== "GET" && request.method !== "HEAD") return send(405, text, "405 method not allowed\n");
  const [, first = "", ...rest] = path.replace(/\/$/, "").split("/");
  const pods = (): readonly Pod[] =>
    (api.list({ group: "", resource: "pods" }).items as readonly Pod[]).filter((pod) => pod.spec.nodeName === node);
  switch (`${first}/${rest.join("/")}`) {
    case "healthz/":
    case "healthz/ping":
    case "healthz/log":
    case "healthz/syncloop":
      return send(200, text, "ok");
    case "pods/":
    case "runningpods/":
      return send(
        200,
        "application/json",
        JSON.stringify({ kind: "PodList", apiVersion: "v1", metadata: {}, items: pods() }),
      );
    case "metrics/":
      return send(200, "text/plain; version=0.0.4; charset=utf-8", metrics(node, pods()));
    case "logs/":
      return send(
        200,
        "text/html; charset=utf-8",
        `<!doctype html>\n<pre>\n<a href="${logFile}">${logFile}</a>\n</pre>\n`,
      );
    case `logs/${logFile}`:
      return send(200, text, nodeLog(place));
  }
  if (first === "containerLogs" && rest.length === 3) {
    const [namespace = "", name = "", container = ""] = rest;
    const pod = api.get({ group: "", resource: "pods", namespace, name }) as Pod | undefined;
    if (pod?.spec.nodeName !== node) return send(404, text, `pod ${JSON.stringify(name)} not found\n`);
    const asked = new URLSearchParams(query);
    asked.set("container", container);
    return serveLog(place.kubelet, pod, asked, response);
  }
  return send(404, text, "404 page not found\n");
}

const logFile = "kubelet.log";

function nodeLog(place: StreamNode): string {
  const lines: string[] = [];
  place.log.follow((line) => lines.push(line)).close();
  return lines.map((line) => `${line}\n`).join("");
}

// Of the kubelet's metrics, those that are known here.
function metrics(node: string, pods: readonly Pod[]): string {
  const running = pods.filter(({ status }) => status?.phase === "Running");
  const containers = running
    .flatMap(({ status }) => status?.containerStatuses ?? [])
    .filter(({ state }) => state?.running !== undefined);
  return `# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.
# TYPE kubelet_node_name gauge
kubelet_node_name{node="${node}"} 1
# HELP kubelet_running_containers [ALPHA] Number of containers currently running
# TYPE kubelet_running_containers gauge
kubelet_running_containers{container_state="running"} ${containers.length}
# HELP kubelet_running_pods [ALPHA] Number of pods that have a running pod sandbox
# TYPE kubelet_running_pods gauge
kubelet_running_pods ${running.length}
`;
}
