import assert from "node:assert/strict";
import { test } from "node:test";

import type { Labels } from "../../kube/object.ts";
import type { Pod, PodSpec } from "../../kube/kinds.ts";
import { rejectionOf } from "./rejection.ts";

const pod = (spec: Partial<PodSpec>, labels: Labels = {}, status = {}): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "p", namespace: "n", labels },
  spec: { containers: [], ...spec },
  status,
});
const onPort = (hostPort: number, status = {}): Pod =>
  pod({ containers: [{ name: "c", ports: [{ containerPort: 80, hostPort }] }] }, {}, status);

test("a node takes what is for Linux and has a place for it", () => {
  const there = [onPort(80), onPort(81, { phase: "Succeeded" })];
  const cases: readonly (readonly [Pod, string | undefined])[] = [
    [pod({}), undefined],
    [pod({ os: { name: "linux" } }, { "kubernetes.io/os": "linux" }), undefined],
    [pod({ os: { name: "windows" } }), "PodOSNotSupported"],
    [pod({}, { "kubernetes.io/os": "windows" }), "PodOSSelectorNodeLabelDoesNotMatch"],
    [onPort(80), "NodePorts"],
    [onPort(81), undefined],
  ];
  for (const [each, reason] of cases) assert.equal(rejectionOf(each, () => there)?.reason, reason);
});
