// The API server as a process of its own over a store on disk, for tests that kill it (server-crash.test.ts).
//   node server-storm.testing.ts STORE
// It says the port that it listens on, then nothing more.

import process from "node:process";

import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { listenPlain, startApiServer } from "./server.ts";

const [path = ""] = process.argv.slice(2);
// Room is made in the journal while the storm goes on.
const store = openStore({ path, roomAfterMs: 200 });
const api = createObjectApi({ store, admissions: [] });
if (api.get({ group: "", resource: "namespaces", name: "default" }) === undefined)
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } });
const { server, port } = await listenPlain();
startApiServer({ api, servers: [server] });
console.log(port);
