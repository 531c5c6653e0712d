// agnhost net --runner nat-closewait-server|nat-closewait-client: a connection of which the server has closed its half and the client has
// not, to see how long the network remembers it.

import { isIP } from "node:net";
import { dial } from "../checks.ts";
import { listenAddress } from "./flags.ts";
import { serveTcp } from "./listen.ts";
import { WorkloadError, type RunningWorkload, type WorkloadContext } from "./workload.ts";

interface Options {
  readonly LocalAddr?: string;
  readonly RemoteAddr?: string;
  readonly PostFinTimeoutSeconds?: number;
}

/** Both end with status 0 when the time after the half-close is over. Throws WorkloadError for other runners. */
export function netRunner(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const options = optionsOf(flags.get("options") ?? "{}");
  const runner = flags.get("runner");
  if (runner === "nat-closewait-server") return server(context, options);
  if (runner === "nat-closewait-client") return client(context, options);
  throw new WorkloadError("net: this built-in program has the runners nat-closewait-server and nat-closewait-client");
}

function optionsOf(text: string): Options {
  try {
    return JSON.parse(text) as Options;
  } catch (error) {
    throw new WorkloadError(`net: invalid JSON options: ${(error as Error).message}`);
  }
}

function endAfter(context: WorkloadContext, { PostFinTimeoutSeconds = 0 }: Options): NodeJS.Timeout {
  return setTimeout(() => context.exit(0), Math.min(PostFinTimeoutSeconds * 1000, 2 ** 31 - 1));
}

function server(context: WorkloadContext, options: Options): RunningWorkload {
  let timer: NodeJS.Timeout | undefined;
  const where = { namespace: context.namespace, ...listenAddress(options.LocalAddr ?? ":0", 0) };
  const running = serveTcp(where, (socket) => {
    context.log("Client connected");
    socket.resume();
    socket.end();
    timer ??= endAfter(context, options);
  });
  context.log(`Server listening on ${options.LocalAddr}`);
  return {
    stop() {
      clearTimeout(timer);
      running.stop();
    },
  };
}

function client(context: WorkloadContext, options: Options): RunningWorkload {
  const [, host = "", port = ""] = /^\[?(.*?)\]?:(\d+)$/.exec(options.RemoteAddr ?? "") ?? [];
  if (isIP(host) === 0) throw new WorkloadError(`net: RemoteAddr ${options.RemoteAddr}: give an address and a port`);
  let timer: NodeJS.Timeout | undefined;
  const socket = dial(context.namespace, host, Number(port));
  // The other half stays open: that is the point.
  socket.allowHalfOpen = true;
  socket.on("connect", () => context.log("Connected to server"));
  socket.on("end", () => {
    context.log(`Server has half-closed the connection, waiting ${options.PostFinTimeoutSeconds} seconds`);
    timer = endAfter(context, options);
  });
  socket.on("error", (error) => {
    context.log(error.message);
    context.exit(1);
  });
  socket.resume();
  return {
    stop() {
      clearTimeout(timer);
      socket.destroy();
    },
  };
}
