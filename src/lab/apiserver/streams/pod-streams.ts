// The streaming subresources of pods, services and nodes: which part answers which.
// Upstream: pkg/registry/core/pod/rest, and the kubelet's server behind it, which here is a function call.
//
// Not here: exec and attach (remote-command.ts), port forwarding (port-forward.ts), logs (logs.ts), proxies (proxy.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import type { Pod } from "../../../kube/kinds.ts";
import type { ObjectApi } from "../../api/api.ts";
import { badRequest } from "../../api/errors.ts";
import { StatusError } from "../../api/store.ts";
import type { Kubelet } from "../../pods/kubelet.ts";
import type { StreamRequest, Streams } from "../hooks.ts";
import { allContainers, statusOf, whereOf } from "./containers.ts";
import { serveLog, serveLogOverWebSocket } from "./logs.ts";
import { servePortForward } from "./port-forward.ts";
import { createProxy } from "./proxy.ts";
import { serveAttach, serveExec } from "./remote-command.ts";

/** A node as streams need it (lab.ts LabNode has this shape). */
export interface StreamNode {
  /** Undefined while the node is stopped, or where packets are off. */
  readonly kubelet: Kubelet | undefined;
  readonly machine: { readonly namespace: NetworkNamespace } | undefined;
  readonly log: { follow(line: (text: string) => void): { close(): void } };
}

export interface PodStreamsOptions {
  readonly api: Pick<ObjectApi, "get" | "list">;
  readonly nodeOf: (name: string) => StreamNode | undefined;
}

/** The streams of a lab's pods, services and nodes. */
export function createPodStreams(options: PodStreamsOptions): Streams {
  const { nodeOf } = options;
  const proxy = createProxy(options);
  return {
    async respond(stream, request, response) {
      const { target, object } = stream;
      if (target.subresource === "proxy") return proxy.respond(stream, request, response);
      if (target.subresource === "log") return log(nodeOf, object as Pod, target.query, response);
      // exec, attach and portforward without an upgrade.
      throw badRequest("Upgrade request required");
    },
    async upgrade(stream, request, socket, head) {
      const { target, object } = stream;
      const connection = [request, socket, head] as const;
      switch (target.subresource ?? "") {
        case "exec": {
          const pod = object as Pod;
          const kubelet = kubeletOf(nodeOf, pod);
          const where = runningContainer(pod, target.query);
          return serveExec(kubelet, where, target.query, connection);
        }
        case "attach": {
          const pod = object as Pod;
          const kubelet = kubeletOf(nodeOf, pod);
          const where = runningContainer(pod, target.query);
          const container = allContainers(pod).find(({ name }) => name === where.container);
          const how = { query: target.query, tty: container?.tty === true, stdinOnce: container?.stdinOnce === true };
          return serveAttach(kubelet, where, how, connection);
        }
        case "log":
          return serveLogOverWebSocket(kubeletOf(nodeOf, object as Pod), object as Pod, target.query, connection);
        case "portforward":
          return forward(nodeOf, stream, connection);
        case "proxy":
          return proxy.upgrade(stream, request, socket, head);
        default:
          throw badRequest(`${target.subresource ?? target.resource} cannot be upgraded`);
      }
    },
  };
}

type NodeOf = PodStreamsOptions["nodeOf"];

function log(nodeOf: NodeOf, pod: Pod, query: URLSearchParams, response: ServerResponse): Promise<void> | void {
  // pkg/registry/core/pod/strategy.go LogLocation: a pod that is on no node has an empty log; but its container must be one of its own.
  whereOf(pod, query.get("container") ?? undefined);
  if ((pod.spec.nodeName ?? "") === "") {
    response.writeHead(200, { "content-type": "text/plain" }).end();
    return;
  }
  return serveLog(kubeletOf(nodeOf, pod), pod, query, response);
}

function forward(
  nodeOf: NodeOf,
  { object, target }: StreamRequest,
  connection: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  const pod = object as Pod;
  const { name, namespace = "" } = pod.metadata;
  const network = kubeletOf(nodeOf, pod).sandboxOf({ namespace, pod: name });
  if (network === undefined || pod.status?.phase !== "Running")
    throw badRequest(
      `unable to forward port because pod is not running. Current status=${pod.status?.phase ?? "Pending"}`,
    );
  return servePortForward({ pod: `${namespace}/${name}`, network }, target.query, connection);
}

/** The kubelet of a pod. Throws StatusError where there is none to ask. */
function kubeletOf(nodeOf: NodeOf, pod: Pod): Kubelet {
  const { nodeName = "" } = pod.spec;
  if (nodeName === "") throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  const node = nodeOf(nodeName);
  if (node?.kubelet !== undefined) return node.kubelet;
  const why =
    node === undefined
      ? `node ${nodeName} is none of the lab's`
      : node.machine === undefined
        ? "packets are off in this lab, so no container runs"
        : `node ${nodeName} is stopped; fairlead node start ${nodeName} brings it back`;
  throw new StatusError(500, "InternalError", `Internal error occurred: error dialing backend: ${why}`);
}

/** A container that runs now. Throws StatusError: 400 where there is none of that name, 404 as the kubelet says it where it does not run. */
function runningContainer(pod: Pod, query: URLSearchParams): ReturnType<typeof whereOf> {
  const where = whereOf(pod, query.get("container") ?? undefined);
  if (statusOf(pod, where.container)?.state?.running === undefined)
    throw new StatusError(404, "NotFound", `container not found (${JSON.stringify(where.container)})`);
  return where;
}
