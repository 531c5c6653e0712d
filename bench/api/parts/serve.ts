// Fairlead's API server alone, as a process: store, write path with its admissions, users and permissions, TLS. No nodes, no controllers.
// As the daemon it inherits the listener from whoever starts it: clients that come early wait.
//
//   node serve.ts FOLDER 3      the descriptor that listens

import { createServer } from "node:https";
import { createRequire, flushCompileCache } from "node:module";
import process from "node:process";
import { join } from "node:path";
import { admissionPlugins } from "../../../src/lab/api/admission/plugins.ts";
import type { Admission } from "../../../src/lab/api/api.ts";
import { markComplete } from "../../../src/lab/api/marks.ts";
import { openStore } from "../../../src/lab/api/sqlite-store.ts";
import { createObjectApi } from "../../../src/lab/api/write.ts";
import { openAccess } from "../../../src/lab/apiserver/access.ts";
import { startApiServer } from "../../../src/lab/apiserver/server.ts";
import { openCertificates, tlsOptions } from "../../../src/lab/apiserver/tls.ts";
import { admissions, nameLabel } from "../../../src/lab/controllers/admissions.ts";
import { collectEarly } from "../../../src/lab/memory.ts";

/** Addresses and ports of Services. In a lab they are its controllers' business, which are loaded when the API server listens. */
let allocator: Admission | undefined;
const load = createRequire(import.meta.url);
const serviceAddresses: Admission = (request) => {
  if (!["services", "servicecidrs", "ipaddresses"].includes(request.kind.resource)) return request.object;
  if (allocator === undefined) {
    const { createServiceAllocator } = load(
      "../../../src/lab/controllers/service-addresses.ts",
    ) as typeof import("../../../src/lab/controllers/service-addresses.ts");
    const { clusterConfig } = load("../../../src/model/cluster.ts") as typeof import("../../../src/model/cluster.ts");
    allocator = createServiceAllocator(clusterConfig({ families: [4], serviceCidrs: ["10.96.0.0/16"] }));
  }
  return allocator(request);
};

const [folder = "", descriptor = ""] = process.argv.slice(2);
const store = openStore({ path: join(folder, "store.db") });
const certificates = openCertificates({ folder: join(folder, "pki"), names: ["localhost"], addresses: [] });
const server = createServer(tlsOptions(certificates));
const access = openAccess({ store, certificates, domain: "cluster.local" });
const plugins = admissionPlugins();
const api = createObjectApi({
  store,
  admissions: [...admissions, access.admission, ...plugins.admissions, serviceAddresses],
  validations: plugins.validations,
});
const namespaces = { group: "", resource: "namespaces" };
for (const name of ["default", "kube-system", "kube-public"])
  if (api.get({ ...namespaces, name }) === undefined)
    api.create(
      markComplete(
        {
          apiVersion: "v1",
          kind: "Namespace",
          metadata: { name, labels: { [nameLabel]: name } },
          spec: { finalizers: ["kubernetes"] },
          status: { phase: "Active" },
        },
        namespaces,
      ),
    );
const { authenticate, authorize, guard, answers, document } = access.start(api);
startApiServer({ api, servers: [server], authenticate, authorize, guard, answers, document });
server.listen({ fd: Number(descriptor) });
// As the daemon does when its start is over.
setTimeout(() => {
  flushCompileCache();
  collectEarly();
}, 2000).unref();
