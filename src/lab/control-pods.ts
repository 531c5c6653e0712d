// Pods through the control socket: exec, logs, images.

import type { Duplex } from "node:stream";
import type { Deployment, Pod } from "../kube/kinds.ts";
import { findResource } from "../kube/resources.ts";
import { selects } from "../kube/selector.ts";
import { StatusError } from "./api/store.ts";
import type { Send } from "./send.ts";
import { channel, createFrameReader, frame } from "./frames.ts";
import type { Lab } from "./lab.ts";
import type { Kubelet } from "./pods/kubelet.ts";

interface ExecBody {
  readonly pod: string;
  readonly namespace: string;
  readonly container?: string;
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly tty: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** Runs a command in a container and connects its streams; resolves when it has ended. */
export async function execInPod(lab: Lab, body: ExecBody, socket: Duplex): Promise<void> {
  const send = (number: number, payload: Uint8Array | string): void => void socket.write(frame(number, payload));
  const end = (result: { exitCode: number; message?: string }): void => {
    send(channel.result, JSON.stringify(result));
    socket.end();
  };
  let started;
  try {
    const { kubelet, where } = placeOf(lab, body);
    started = kubelet.exec(where, { argv: body.command, tty: body.tty, stdin: body.stdin });
  } catch (error) {
    // 126: the shells' status of a command that cannot be run; what names no container was never tried.
    end({
      exitCode: error instanceof StatusError ? 1 : 126,
      message: error instanceof Error ? error.message : String(error),
    });
    return;
  }
  if (body.columns !== undefined && body.rows !== undefined)
    started.resize?.({ columns: body.columns, rows: body.rows });
  started.stdout?.on("data", (chunk: Buffer) => send(channel.stdout, chunk));
  started.stderr?.on("data", (chunk: Buffer) => send(channel.stderr, chunk));
  const read = createFrameReader((number, payload) => {
    if (number === channel.stdin) {
      if (payload.length === 0) started.stdin?.end();
      else started.stdin?.write(payload);
    } else if (number === channel.resize)
      started.resize?.(JSON.parse(payload.toString("utf8")) as { columns: number; rows: number });
  });
  socket.on("data", read);
  socket.resume();
  socket.on("close", () => started.kill("SIGKILL"));
  const { code } = await started.ended;
  end({ exitCode: code });
}

interface LogsBody {
  readonly pod: string;
  readonly namespace: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly previous?: boolean;
  readonly tail?: number;
  readonly timestamps?: boolean;
}

/** A container's log, a line each; with `follow` until the reader goes. */
export async function logLines(lab: Lab, body: LogsBody, send: Send, signal: AbortSignal): Promise<void> {
  const { kubelet, where } = placeOf(lab, body);
  const reader = asked(() =>
    kubelet.logs(where, {
      ...(body.follow !== undefined && { follow: body.follow }),
      ...(body.previous !== undefined && { previous: body.previous }),
      ...(body.tail !== undefined && { tailLines: body.tail }),
      ...(body.timestamps !== undefined && { timestamps: body.timestamps }),
    }),
  );
  signal.addEventListener("abort", () => reader.close());
  let rest = "";
  await reader.each((chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) send({ line });
  });
  if (rest !== "") send({ line: rest });
}

interface ImageBody {
  readonly action: "list" | "add" | "remove";
  readonly image?: string;
  readonly path?: string;
}

export function imageRequest(lab: Lab, { action, image, path }: ImageBody): object {
  switch (action) {
    case "list":
      return {
        images: [
          ...lab.images.mappings().map((mapping) => ({ name: mapping.name, what: mapping.path })),
          ...lab.images.builtin().map((name) => ({ name, what: "built in" })),
        ],
      };
    case "add":
      asked(() => lab.images.add({ name: image ?? "", path: path ?? "" }));
      return {};
    case "remove":
      if (!lab.images.remove(image ?? ""))
        throw new StatusError(404, "NotFound", `image ${image} is not mapped; fairlead image list shows what is`);
      return {};
  }
}

/**
 * The kubelet that has the pod, and the pod's own name: `deploy/frontend` stands for the first of its pods, `node/node-1` for the agent's pod
 * there, which is in the node's network. Throws StatusError.
 */
function placeOf(
  lab: Lab,
  body: { readonly pod: string; readonly namespace: string; readonly container?: string },
): {
  kubelet: Kubelet;
  where: { namespace: string; pod: string; container?: string };
} {
  const pod = findPod(lab, body.namespace, body.pod);
  const { nodeName } = pod.spec;
  if (nodeName === undefined)
    throw new StatusError(
      409,
      "Conflict",
      `pod ${body.namespace}/${pod.metadata.name} is not on any node yet (fairlead get events -n ${body.namespace})`,
    );
  const kubelet = lab.nodes().get(nodeName)?.kubelet;
  if (kubelet === undefined) {
    const why =
      lab.config.packets === "off" ? "packets are off, so no container runs" : `its node ${nodeName} is stopped`;
    throw new StatusError(
      503,
      "ServiceUnavailable",
      `pod ${body.namespace}/${pod.metadata.name} cannot be asked: ${why}`,
    );
  }
  return {
    kubelet,
    where: {
      namespace: pod.metadata.namespace ?? body.namespace,
      pod: pod.metadata.name,
      ...(body.container !== undefined && { container: body.container }),
    },
  };
}

function findPod(lab: Lab, namespace: string, given: string): Pod {
  const [word = "", name] = given.split("/");
  const pods = lab.api.list({ group: "", resource: "pods" }, { namespace }).items as readonly Pod[];
  if (name === undefined || findResource(word)?.resource === "pods") {
    const found = pods.find((pod) => pod.metadata.name === (name ?? word));
    if (found === undefined)
      throw new StatusError(404, "NotFound", `pods "${name ?? word}" not found in namespace ${namespace}`);
    return found;
  }
  const resource = findResource(word);
  if (resource === undefined)
    throw new StatusError(404, "NotFound", `the server doesn't have a resource type "${word}"`);
  if (resource.resource === "nodes") return agentPod(lab, name);
  const key = { group: resource.group, resource: resource.resource, namespace, name };
  const owner = lab.api.get(key) as Deployment | undefined;
  if (owner === undefined)
    throw new StatusError(404, "NotFound", `${resource.resource} "${name}" not found in namespace ${namespace}`);
  const selector =
    resource.resource === "services"
      ? { matchLabels: (owner.spec as unknown as { selector?: Record<string, string> }).selector ?? {} }
      : owner.spec.selector;
  const running = pods.filter(
    (pod) => selects(selector, pod.metadata.labels) && pod.metadata.deletionTimestamp === undefined,
  );
  const first = running.find((pod) => pod.status?.phase === "Running") ?? running[0];
  if (first === undefined) throw new StatusError(404, "NotFound", `${given} has no pods in namespace ${namespace}`);
  return first;
}

function agentPod(lab: Lab, node: string): Pod {
  const names = [...lab.nodes().keys()];
  if (!names.includes(node))
    throw new StatusError(404, "NotFound", `nodes "${node}" not found; there are: ${names.join(", ")}`);
  const pods = lab.api.list({ group: "", resource: "pods" }, { namespace: "kube-system" }).items as readonly Pod[];
  const found = pods.find((pod) => pod.spec.nodeName === node && pod.metadata.labels?.["k8s-app"] === "kube-proxy");
  if (found === undefined)
    throw new StatusError(404, "NotFound", `node ${node} has no pod of DaemonSet kube-system/kube-proxy to run it in`);
  return found;
}

/** What a part refuses in words becomes an answer, not a failure of the lab. */
function asked<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    throw new StatusError(400, "BadRequest", error instanceof Error ? error.message : String(error));
  }
}
