// A server with the streams of one pod, a kubelet that plays its part, and clients of every sort, for tests without containers.

import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { PassThrough, type Duplex } from "node:stream";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { StatusError } from "../../api/store.ts";
import type { ContainerProcess } from "../../pods/container.ts";
import type { Kubelet } from "../../pods/kubelet.ts";
import { parseTarget } from "../target.ts";
import { createPodStreams, type PodStreamsOptions } from "./pod-streams.ts";
import { spdyClient, type SpdyClient } from "./spdy-client.testing.ts";

/** The namespace the test itself runs in. */
export const here: NetworkNamespace = { id: "here", run: <T>(work: () => T): T => work() } as NetworkNamespace;

/** A process that tests hold the other end of. */
export interface FakeProcess extends ContainerProcess {
  readonly input: PassThrough;
  readonly sizes: object[];
  readonly killed: (NodeJS.Signals | number)[];
  end(code: number): void;
  say(text: string, stream?: "stdout" | "stderr"): void;
}

export function fakeProcess(options: { readonly tty?: boolean } = {}): FakeProcess {
  const [input, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const ended = Promise.withResolvers<{ code: number }>();
  const sizes: object[] = [];
  const killed: (NodeJS.Signals | number)[] = [];
  return {
    pid: 1,
    stdin: input,
    stdout,
    ...(options.tty === true ? {} : { stderr }),
    input,
    sizes,
    killed,
    ended: ended.promise,
    resize: (size) => void sizes.push(size),
    kill(signal) {
      killed.push(signal);
      return true;
    },
    say: (text, stream = "stdout") => void (stream === "stdout" ? stdout : stderr).write(text),
    end(code) {
      stdout.end();
      stderr.end();
      stdout.once("end", () => ended.resolve({ code }));
    },
  };
}

export interface StreamServer {
  readonly port: number;
  /** Opens an upgrade by SPDY; rejects with the answer where it is refused. */
  spdy(
    path: string,
    protocols: readonly string[],
  ): Promise<{ readonly client: SpdyClient; readonly protocol: string; readonly socket: Duplex }>;
  close(): void;
}

export async function streamServer(options: {
  readonly kubelet?: Partial<Kubelet>;
  readonly objects: readonly KubeObject[];
  readonly node?: Partial<NonNullable<ReturnType<PodStreamsOptions["nodeOf"]>>>;
}): Promise<StreamServer> {
  const find = (resource: string, name: string | undefined): KubeObject | undefined =>
    options.objects.find(({ kind, metadata }) => `${kind.toLowerCase()}s` === resource && metadata.name === name);
  const streams = createPodStreams({
    api: {
      get: ({ resource, name }) => find(resource, name),
      list: ({ resource }, { labels } = {}) => ({
        items: options.objects.filter(
          ({ kind, metadata }) => `${kind.toLowerCase()}s` === resource && labels?.(metadata.labels ?? {}) !== false,
        ),
        resourceVersion: 1,
      }),
    },
    nodeOf: (name) =>
      name === "node-1"
        ? {
            kubelet: { sandboxOf: () => here, ...options.kubelet } as Kubelet,
            machine: { namespace: here },
            log: { follow: (line) => (line("kubelet says hello"), { close() {} }) },
            ...options.node,
          }
        : undefined,
  });
  const streamOf = (request: IncomingMessage): Parameters<typeof streams.respond>[0] => {
    const target = parseTarget(request.method ?? "", request.url ?? "");
    const parts = target?.name?.split(":") ?? [];
    const object = find(target?.resource ?? "", parts.length === 3 ? parts[1] : parts[0]);
    if (target === undefined || object === undefined) throw new StatusError(404, "NotFound", "not found");
    return { user: { username: "u", groups: [] }, target, object };
  };
  const server = createServer((request, response) => {
    void (async () => {
      try {
        await streams.respond(streamOf(request), request, response);
      } catch (error) {
        const { code, message } = error as StatusError;
        response.statusCode = code;
        response.end(message);
      }
    })();
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  server.on("upgrade", (request, socket, head) => {
    void (async () => {
      try {
        await streams.upgrade(streamOf(request), request, socket, head);
      } catch (error) {
        const { code, message } = error as StatusError;
        if (socket.writable)
          socket.end(
            `HTTP/1.1 ${code} Refused\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
          );
      }
    })();
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    spdy: (path, protocols) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({
          port,
          host: "127.0.0.1",
          path,
          method: "POST",
          createConnection: () => connect(port, "127.0.0.1"),
          headers: { Connection: "Upgrade", Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": [...protocols] },
        });
        request.on("upgrade", (response, socket, head) => {
          if (head.length > 0) socket.unshift(head);
          resolve({
            client: spdyClient(socket),
            protocol: String(response.headers["x-stream-protocol-version"]),
            socket,
          });
        });
        request.on("response", (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
          response.on("end", () => reject(new Error(`${response.statusCode} ${text}`)));
        });
        request.on("error", reject);
        request.end();
      }),
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

export function runningPod(
  containers: readonly object[] = [{ name: "main", image: "i" }],
  rest: object = {},
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "web", namespace: "default", uid: "u" },
    spec: { nodeName: "node-1", containers },
    status: {
      phase: "Running",
      containerStatuses: containers.map((container) => ({ ...container, state: { running: {} }, lastState: {} })),
    },
    ...rest,
  };
}
