// Fairlead's API server alone, as a process: store, write path with its admissions, users and permissions, TLS. No nodes, no controllers.
//
//   node serve.ts FOLDER PORT

import { createServer } from "node:https";
import process from "node:process";
import { join } from "node:path";
import { admissionPlugins } from "../../../src/lab/api/admission/plugins.ts";
import { openStore } from "../../../src/lab/api/sqlite-store.ts";
import { createObjectApi } from "../../../src/lab/api/write.ts";
import { openAccess } from "../../../src/lab/apiserver/access.ts";
import { startApiServer } from "../../../src/lab/apiserver/server.ts";
import { openCertificates, tlsOptions } from "../../../src/lab/apiserver/tls.ts";
import { admissions } from "../../../src/lab/controllers/admissions.ts";
import { collectEarly } from "../../../src/lab/memory.ts";

const [folder = "", port = ""] = process.argv.slice(2);
const store = openStore({ path: join(folder, "store.db") });
const certificates = openCertificates({ folder: join(folder, "pki"), names: ["localhost"], addresses: [] });
// Clients that come early wait, as they do where the launcher has opened the listener.
const server = createServer(tlsOptions(certificates));
server.listen(Number(port), "127.0.0.1");
const access = openAccess({ store, certificates, domain: "cluster.local" });
const plugins = admissionPlugins();
const api = createObjectApi({
  store,
  admissions: [...admissions, access.admission, ...plugins.admissions],
  validations: plugins.validations,
});
for (const name of ["default", "kube-system", "kube-public"])
  if (api.get({ group: "", resource: "namespaces", name }) === undefined)
    api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
const { authenticate, authorize, guard, answers, document } = access.start(api);
startApiServer({ api, servers: [server], authenticate, authorize, guard, answers, document });
// As the daemon does when its start is over.
setTimeout(collectEarly, 2000).unref();
