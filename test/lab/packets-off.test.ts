// A lab without namespaces: everything but packets works, and nothing pretends that one was sent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { withLabs } from "./lab.testing.ts";

test("with packets off the shop is objects, records, names and traces", async () => {
  await withLabs((lab) => {
    const up = lab.fairlead("up", "--packets", "off", "-f", "examples/shop");
    assert.equal(up.status, 0, up.stdout + up.stderr);
    assert.doesNotMatch(up.stdout, /fairlead exec/, "nothing can be executed in a record");
    assert.match(up.stdout, /going on without packets \(as asked\)/);
    assert.doesNotMatch(up.stdout, /checked/);
    assert.match(lab.fairlead("status").stdout, /packets off[\s\S]*node-3 +Ready/);
    const pod = lab.fairlead("get", "pod", "postgres-0", "-n", "production", "-o", "json").stdout;
    assert.match(pod, /"message": "a record: packets are off, no container runs"/);
    const trace = lab.fairlead("trace", "production/frontend", "http://api-server", "--live");
    assert.equal(trace.status, 0);
    assert.match(
      trace.stdout,
      /one of 2 endpoints[\s\S]*whether something listens cannot be told here[\s\S]*live +not sent: /,
    );
    assert.match(lab.fairlead("show", "dns").stdout, /api-server\.production\.svc\.cluster\.local/);
    assert.match(lab.fairlead("show", "services", "node-1").stdout, /# Service production\/api-server/);
    const exec = lab.fairlead("exec", "-n", "production", "deploy/frontend", "--", "true");
    assert.equal(exec.status, 1);
    assert.match(exec.stderr, /packets are off, so no container runs/);
    // A node that says nothing and one that comes back.
    assert.equal(lab.fairlead("node", "stop", "node-2").status, 0);
    assert.equal(lab.fairlead("node", "start", "node-2").status, 0);
    assert.match(lab.fairlead("node", "add").stdout, /node node-4 added/);
    assert.equal(lab.fairlead("get", "nodes", "-o", "name").stdout.trim().split("\n").length, 4);
    // Its objects are kept over a restart.
    assert.equal(lab.fairlead("down", "--keep").status, 0);
    assert.equal(lab.fairlead("up", "--packets", "off").status, 0);
    assert.match(lab.fairlead("get", "deploy", "-n", "production", "-o", "name").stdout, /deployment\.apps\/frontend/);
  });
});

test("what is kept and not acted upon is named by status", async () => {
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--packets", "off", "-f", "examples/articles").status, 0);
    assert.match(
      lab.fairlead("status").stdout,
      /not acted upon: Ingress default\/api-routing-ingress: the object is kept, no gateway routes traffic by it yet/,
    );
  });
});
