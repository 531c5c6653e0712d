// `GET pods/NAME/log`: a container's log as plain text. Upstream: pkg/registry/core/pod/rest/log.go, pkg/kubelet/kubelet_pods.go.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { ContainerStatus, Pod } from "../../../kube/kinds.ts";
import { badRequest } from "../../api/errors.ts";
import { StatusError } from "../../api/store.ts";
import type { Kubelet } from "../../pods/kubelet.ts";
import type { LogOptions, LogReader } from "../../pods/logs.ts";
import { isTrue } from "../target.ts";
import { statusOf, whereOf } from "./containers.ts";
import { acceptWebSocket, offeredProtocols, wantsWebSocket } from "./websocket.ts";

/** Writes the log until its end, or until the client goes. Throws StatusError before anything is answered. */
export async function serveLog(
  kubelet: Pick<Kubelet, "logs">,
  pod: Pod,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const reader = openLog(kubelet, pod, query);
  response.writeHead(200, { "content-type": "text/plain" });
  response.flushHeaders();
  response.once("close", () => reader.close());
  await reader.each((text) => {
    // A follower that reads nothing must not fill our memory.
    if (response.writableLength > unreadBytesMax) response.destroy();
    else response.write(text);
  });
  response.end();
}

/** Opens it. Throws StatusError. */
function openLog(kubelet: Pick<Kubelet, "logs">, pod: Pod, query: URLSearchParams): LogReader {
  const options = logOptions(query, Date.now());
  const where = whereOf(pod, query.get("container") ?? undefined);
  mustHaveLog(pod, where.container, options);
  try {
    return kubelet.logs(where, options);
  } catch (error) {
    throw badRequest((error as Error).message);
  }
}

/** The same over a WebSocket, as browsers ask for it (apiserver wsstream reader.go): messages of bytes, or of base64 text. */
export async function serveLogOverWebSocket(
  kubelet: Pick<Kubelet, "logs">,
  pod: Pod,
  query: URLSearchParams,
  [request, socket, head]: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  const offered = offeredProtocols(request);
  const protocol = offered.length === 0 ? "" : logProtocols.find((name) => offered.includes(name));
  if (!wantsWebSocket(request) || protocol === undefined)
    throw badRequest(`unable to upgrade: no known subprotocol among ${offered.join(", ")}`);
  const reader = openLog(kubelet, pod, query);
  const webSocket = await acceptWebSocket(request, socket, head, protocol);
  const closed = new Promise<void>((resolve) => webSocket.once("close", () => resolve()));
  webSocket.on("error", () => webSocket.terminate());
  void closed.then(() => reader.close());
  await reader.each((text) => {
    if (webSocket.bufferedAmount > unreadBytesMax) webSocket.terminate();
    else webSocket.send(protocol.startsWith("base64") ? Buffer.from(text).toString("base64") : Buffer.from(text));
  });
  webSocket.close(1000);
  await closed;
}

const logProtocols = ["binary.k8s.io", "base64.binary.k8s.io"];

const unreadBytesMax = 64 * 1024 * 1024;

/** Reads core/v1 PodLogOptions. Throws StatusError 422 in upstream's words (validation.ValidatePodLogOptions). */
export function logOptions(query: URLSearchParams, nowMs: number): LogOptions {
  const problems: string[] = [];
  const number = (name: string, least: 0 | 1): number | undefined => {
    const text = query.get(name);
    if (text === null || text === "") return undefined;
    if (!/^-?\d+$/.test(text))
      throw badRequest(`unable to decode query: strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
    const value = Number(text);
    if (value < least)
      problems.push(`${name}: Invalid value: ${value}: must be greater than ${least === 0 ? "or equal to 0" : "0"}`);
    return value;
  };
  const tailLines = number("tailLines", 0);
  const limitBytes = number("limitBytes", 1);
  const sinceSeconds = number("sinceSeconds", 1);
  const sinceTime = query.get("sinceTime") ?? "";
  if (sinceSeconds !== undefined && sinceTime !== "")
    problems.push("Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified");
  const time = sinceTime === "" ? undefined : Date.parse(sinceTime);
  if (time !== undefined && Number.isNaN(time))
    throw badRequest(`unable to decode query: ${JSON.stringify(sinceTime)} is not a time such as 2006-01-02T15:04:05Z`);
  const [problem] = problems;
  if (problem !== undefined) {
    const text = problems.length === 1 ? problem : `[${problems.join(", ")}]`;
    throw new StatusError(422, "Invalid", `PodLogOptions "" is invalid: ${text}`, { kind: "PodLogOptions" });
  }
  const since = sinceSeconds === undefined ? time : nowMs - sinceSeconds * 1000;
  return {
    follow: isTrue(query.get("follow")),
    previous: isTrue(query.get("previous")),
    timestamps: isTrue(query.get("timestamps")),
    ...(tailLines !== undefined && { tailLines }),
    ...(limitBytes !== undefined && { limitBytes }),
    ...(since !== undefined && { since }),
  };
}

// pkg/kubelet/kubelet_pods.go validateContainerLogStatus
function mustHaveLog(pod: Pod, container: string, { previous }: LogOptions): void {
  const status: ContainerStatus | undefined = statusOf(pod, container);
  const name = `container ${JSON.stringify(container)} in pod ${JSON.stringify(pod.metadata.name)}`;
  if (previous === true) {
    if (status?.lastState?.terminated === undefined) throw badRequest(`previous terminated ${name} not found`);
    return;
  }
  if (status === undefined) throw badRequest(`${name} is not available`);
  const { state = {}, lastState = {} } = status;
  if (state.running !== undefined || state.terminated !== undefined || lastState.terminated !== undefined) return;
  throw badRequest(`${name} is waiting to start${waitingText(state.waiting?.reason)}`);
}

function waitingText(reason: string | undefined): string {
  if (reason === undefined) return " - no logs yet";
  if (reason === "ErrImagePull") return ": image can't be pulled";
  return reason === "ImagePullBackOff" ? ": trying and failing to pull image" : `: ${reason}`;
}
