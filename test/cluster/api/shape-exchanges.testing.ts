// Exchanges about what answers look like: tables, metadata alone, errors of paths and methods, discovery.

import type { Exchange } from "./exchange.testing.ts";
import { maps, table, map, post, get, del, merge, quiet, metadata, metadataList } from "./exchange-words.testing.ts";

/** Kinds whose columns are looked at. */
const tables = `
  v1/nodes v1/services v1/endpoints v1/events
  v1/pods v1/secrets v1/namespaces v1/serviceaccounts
  v1/persistentvolumes v1/persistentvolumeclaims v1/resourcequotas v1/limitranges
  v1/replicationcontrollers v1/podtemplates apps/v1/deployments apps/v1/replicasets
  apps/v1/daemonsets apps/v1/statefulsets apps/v1/controllerrevisions batch/v1/jobs
  batch/v1/cronjobs networking.k8s.io/v1/networkpolicies networking.k8s.io/v1/ingresses networking.k8s.io/v1/ingressclasses
  networking.k8s.io/v1/ipaddresses networking.k8s.io/v1/servicecidrs discovery.k8s.io/v1/endpointslices policy/v1/poddisruptionbudgets
  autoscaling/v2/horizontalpodautoscalers autoscaling/v1/horizontalpodautoscalers rbac.authorization.k8s.io/v1/roles rbac.authorization.k8s.io/v1/rolebindings
  rbac.authorization.k8s.io/v1/clusterrolebindings storage.k8s.io/v1/storageclasses storage.k8s.io/v1/csidrivers storage.k8s.io/v1/csinodes
  storage.k8s.io/v1/volumeattachments storage.k8s.io/v1/csistoragecapacities storage.k8s.io/v1/volumeattributesclasses scheduling.k8s.io/v1/priorityclasses
  coordination.k8s.io/v1/leases certificates.k8s.io/v1/certificatesigningrequests admissionregistration.k8s.io/v1/validatingwebhookconfigurations admissionregistration.k8s.io/v1/mutatingwebhookconfigurations
  admissionregistration.k8s.io/v1/validatingadmissionpolicies admissionregistration.k8s.io/v1/validatingadmissionpolicybindings apiextensions.k8s.io/v1/customresourcedefinitions apiregistration.k8s.io/v1/apiservices
  flowcontrol.apiserver.k8s.io/v1/flowschemas flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations node.k8s.io/v1/runtimeclasses events.k8s.io/v1/events
`
  .trim()
  .split(/\s+/);

export const shapes: readonly Exchange[] = [
  [
    "shape: tables",
    quiet(post(maps, map("a"))),
    get(maps, { accept: table }),
    get(`${maps}/a`, { accept: table }),
    get(`${maps}?includeObject=None`, { accept: table }),
    get(`${maps}?includeObject=Object`, { accept: table }),
    get(`${maps}?includeObject=Some`, { accept: table }),
    get(`${maps}/missing`, { accept: table }),
    get(maps, { accept: "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json" }),
    get(maps, { accept: "application/json;as=Table;v=v2;g=meta.k8s.io" }),
    get(maps, { accept: metadataList }),
    get(`${maps}/a`, { accept: metadata }),
    get(maps, { accept: metadata }),
    get(`${maps}/a`, { accept: metadataList }),
    get(`${maps}/a`, { accept: "text/html" }),
    get(`${maps}/a`, { accept: "*/*" }),
    get(`${maps}/a`, { accept: "application/*" }),
    get(`${maps}/a`, { accept: "application/yaml", see: "type" }),
    get(`${maps}/a`, { accept: "application/xml,application/json;q=0.5" }),
    get(`${maps}/missing`, { accept: "text/html" }),
    get(`${maps}/a?pretty=true`),
    post(maps, map("b"), { accept: table }),
    merge(`${maps}/b`, { data: { c: "d" } }, { accept: metadata }),
    del(`${maps}/b`, undefined, { accept: metadata }),
    del(maps, undefined, { accept: table }),
  ],
  ...tables.map((resource): Exchange => [
    `shape: columns of ${resource}`,
    get(`${resource.startsWith("v1/") ? "/api" : "/apis"}/${resource}?fieldSelector=metadata.name%3Dnobody`, {
      accept: table,
    }),
  ]),
  [
    "shape: methods and paths",
    get("/nothing"),
    get("/api/v1/nothing"),
    get("/apis/nothing/v1"),
    get("/apis/apps/v2"),
    get("/apis/apps/v1/nothing"),
    get("/api/v1/namespaces/{ns}/nothing"),
    get("/api/v1/namespaces/{ns}/configmaps/a/nothing"),
    post("/api/v1/nodes/x/status", {}),
    post("/api", {}),
    del("/version"),
    merge(maps, {}),
    { send: `OPTIONS ${maps}` },
    get("/version", { see: "type" }),
    get("/healthz"),
    get("/livez"),
    get("/readyz"),
    get("/healthz/ping"),
    get("/livez/ping"),
    get("/readyz/ping"),
    get("/healthz/nothing"),
    get("/healthz?exclude=ping", { see: "status" }),
    get("/metrics", { see: "status" }),
    get("/openapi/v2", { see: "status" }),
    get("/openapi/v3", { see: "status" }),
    get("/swagger.json", { see: "status" }),
    get("/", { see: "type" }),
    get("/apis/", { see: "type" }),
    get("/api/", { see: "type" }),
    get("/api/v1/", { see: "type" }),
    get("/api/v1/namespaces/{ns}/configmaps/", { see: "status" }),
    get("/api/v1/namespaces/{ns}/configmaps/..%2f..", { see: "status" }),
    get("/.well-known/openid-configuration", { see: "type" }),
    get("/api/v1/proxy/nodes/x"),
  ],
  [
    "shape: discovery",
    ...[
      "/api",
      "/api/v1",
      "/apis/apps",
      "/apis/apps/v1",
      "/apis/batch/v1",
      "/apis/autoscaling",
      "/apis/autoscaling/v1",
      "/apis/autoscaling/v2",
      "/apis/networking.k8s.io/v1",
      "/apis/policy/v1",
      "/apis/rbac.authorization.k8s.io/v1",
      "/apis/storage.k8s.io/v1",
      "/apis/discovery.k8s.io/v1",
      "/apis/events.k8s.io/v1",
      "/apis/coordination.k8s.io/v1",
      "/apis/certificates.k8s.io/v1",
      "/apis/authentication.k8s.io/v1",
      "/apis/authorization.k8s.io/v1",
      "/apis/admissionregistration.k8s.io/v1",
      "/apis/apiextensions.k8s.io/v1",
      "/apis/apiregistration.k8s.io/v1",
      "/apis/flowcontrol.apiserver.k8s.io/v1",
      "/apis/node.k8s.io/v1",
      "/apis/scheduling.k8s.io/v1",
      "/apis/resource.k8s.io/v1",
    ].map((path) => get(path)),
  ],
];
