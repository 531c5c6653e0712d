import assert from "node:assert/strict";
import { test } from "node:test";

import { parseTarget } from "./target.ts";

test("a request line says verb, resource, namespace and name", () => {
  const cases: [line: string, expected: string][] = [
    ["GET /api/v1/pods", "list pods"],
    ["GET /api/v1/namespaces/a/pods", "list pods in a"],
    ["GET /api/v1/namespaces/a/pods/x", "get pods x in a"],
    ["HEAD /api/v1/namespaces/a/pods/x/", "get pods x in a"],
    ["GET /api/v1/namespaces/a/pods/x/log?follow=true", "get pods x/log in a"],
    ["GET /api/v1/namespaces/a/pods/x/proxy/b/c", "get pods x/proxy in a + b,c"],
    ["GET /api/v1/pods?watch=1", "watch pods"],
    ["GET /api/v1/watch/namespaces/a/pods/x", "watch pods x in a"],
    ["GET /api/v1/namespaces/a", "get namespaces a in a"],
    ["PUT /api/v1/namespaces/a/finalize", "update namespaces a/finalize in a"],
    ["POST /apis/apps/v1/namespaces/a/deployments", "create apps/deployments in a"],
    ["DELETE /apis/apps/v1/namespaces/a/deployments", "deletecollection apps/deployments in a"],
    ["PATCH /apis/apps/v1/namespaces/a/deployments/x/scale", "patch apps/deployments x/scale in a"],
    ["GET /apis/apps/v1", "get path"],
    ["GET /healthz", "get path"],
    ["PROPFIND /api/v1/pods", "propfind pods"],
    ["GET /api/v1/namespaces/a/pods/x%2Fy", "get pods x/y in a"],
    ["GET /api/v1/pods/%zz", "unreadable"],
    ["GET /api/v1/pods/%00", "unreadable"],
    ["GET /api/v1/namespaces/a/pods/..", "unreadable"],
    ["GET /api/v1/namespaces/a/pods/%2e%2e", "unreadable"],
    ["GET /apis/apps/../../etc/passwd", "unreadable"],
  ];
  for (const [line, expected] of cases) {
    const [method = "", url = ""] = line.split(" ");
    assert.equal(targetText(method, url), expected, line);
  }
});

function targetText(method: string, url: string): string {
  const target = parseTarget(method, url);
  if (target === undefined) return "unreadable";
  if (!target.isResource) return `${target.verb} path`;
  const { verb, group, resource, name, subresource, namespace, rest } = target;
  return [
    verb,
    group === "" ? resource : `${group}/${resource}`,
    ...(name === undefined ? [] : [subresource === undefined ? name : `${name}/${subresource}`]),
    ...(namespace === undefined ? [] : [`in ${namespace}`]),
    ...(rest.length === 0 ? [] : [`+ ${rest.join(",")}`]),
  ].join(" ");
}
