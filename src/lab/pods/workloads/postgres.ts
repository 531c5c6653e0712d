// A stand-in for PostgreSQL: it listens, speaks the beginning of the protocol, and tells every client plainly that there is no database here.
// So connections, policies and Services of demos can be tried, and nobody takes it for a working server.

import type net from "node:net";
import { parseFlags, portOf } from "./flags.ts";
import { clientText, serveTcp } from "./listen.ts";
import { programOf, WorkloadError, type BuiltinWorkload } from "./workload.ts";

export const postgres: BuiltinWorkload = {
  name: "postgres",
  serves: (argv) => programOf(argv) === "postgres" || argv[0]?.startsWith("-") === true,
  start(context) {
    const { flags } = parseFlags(context.args);
    const { env } = context;
    // What the image itself demands, so that a manifest that works here works there.
    if (
      (env["POSTGRES_PASSWORD"] ?? "") === "" &&
      env["POSTGRES_PASSWORD_FILE"] === undefined &&
      env["POSTGRES_HOST_AUTH_METHOD"] !== "trust"
    )
      throw new WorkloadError(
        "Error: Database is uninitialized and superuser password is not specified. You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.",
      );
    const port = portOf(flags.get("p") ?? env["PGPORT"], 5432);
    context.log("Fairlead's stand-in for PostgreSQL: it answers connections and holds no data");
    context.log("LOG:  database system is ready to accept connections");
    return serveTcp({ namespace: context.namespace, port }, (socket) => {
      const { remoteAddress, remotePort } = socket;
      const from = clientText({
        ...(remoteAddress === undefined ? {} : { address: remoteAddress }),
        ...(remotePort === undefined ? {} : { port: remotePort }),
      });
      greet(socket, context.hostname, (what) => context.log(`LOG:  ${what} from ${from}`));
    });
  },
};

// PostgreSQL protocol 3.0, "Message Formats": a start packet is length, code and parameters, without a type byte.
const sslRequest = 80877103;
const gssRequest = 80877104;

function greet(socket: net.Socket, hostname: string, log: (what: string) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 8) {
      const length = rest.readUInt32BE(0);
      if (length < 8 || length > 10_000) return void socket.destroy();
      if (rest.length < length) return;
      const code = rest.readUInt32BE(4);
      const parameters = rest.toString("utf8", 8, length).split("\0");
      rest = rest.subarray(length);
      if (code === sslRequest || code === gssRequest) {
        socket.write("N");
        continue;
      }
      const user = parameters[parameters.indexOf("user") + 1] ?? "";
      log(`connection of user "${user}"`);
      socket.end(
        errorResponse(
          `this is Fairlead's stand-in for PostgreSQL on ${hostname}: it answers connections and holds no data`,
        ),
      );
      return;
    }
  });
}

/** ErrorResponse with severity FATAL and SQLSTATE 0A000, feature_not_supported. */
function errorResponse(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C0A000\0M${message}\0\0`, "utf8");
  const header = Buffer.alloc(5);
  header.write("E", 0, "latin1");
  header.writeUInt32BE(fields.length + 4, 1);
  return Buffer.concat([header, fields]);
}
