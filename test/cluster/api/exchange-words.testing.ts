// What exchanges are written with: the methods as words, and the objects and paths that are spoken of most.

import type { Step } from "./exchange.testing.ts";

export const maps: string = "/api/v1/namespaces/{ns}/configmaps";
export const deployments: string = "/apis/apps/v1/namespaces/{ns}/deployments";
export const pods: string = "/api/v1/namespaces/{ns}/pods";
export const table: string = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
export const metadata: string = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
export const metadataList: string = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

export const map = (name: string, more: object = {}, data: object = { a: "1" }): object => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, ...more },
  data,
});
export const post = (path: string, body: unknown, more: Partial<Step> = {}): Step => ({
  send: `POST ${path}`,
  body,
  ...more,
});
export const put = (path: string, body: unknown, more: Partial<Step> = {}): Step => ({
  send: `PUT ${path}`,
  body,
  ...more,
});
export const get = (path: string, more: Partial<Step> = {}): Step => ({ send: `GET ${path}`, ...more });
export const del = (path: string, body?: unknown, more: Partial<Step> = {}): Step => ({
  send: `DELETE ${path}`,
  body,
  ...more,
});
export const merge = (path: string, body: unknown, more: Partial<Step> = {}): Step => ({
  send: `PATCH ${path}`,
  body,
  ...more,
});
export const strategic = (path: string, body: unknown): Step =>
  merge(path, body, { type: "application/strategic-merge-patch+json" });
export const jsonPatch = (path: string, body: unknown): Step =>
  merge(path, body, { type: "application/json-patch+json" });
export const apply = (path: string, body: unknown): Step => merge(path, body, { type: "application/apply-patch+yaml" });
export const quiet = (step: Step): Step => ({ ...step, see: "nothing" });

export const pod = (name: string, more: object = {}): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, labels: { app: "x" }, ...more },
  spec: { containers: [{ name: "c", image: "busybox" }] },
});
export const deployment = (name: string, more: object = {}): object => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "x" } },
    template: {
      metadata: { labels: { app: "x" } },
      spec: {
        containers: [
          {
            name: "c",
            image: "busybox",
            env: [
              { name: "A", value: "1" },
              { name: "B", value: "2" },
            ],
            ports: [{ containerPort: 80 }],
          },
        ],
      },
    },
    ...more,
  },
});
