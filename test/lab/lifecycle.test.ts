// A lab's life by the command line: up, used, killed, resumed, down; and nothing left behind.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { hostLinks, networkNamespaces, withLabs, type TestLab } from "./lab.testing.ts";

const rounds = process.env["FAIRLEAD_LONG"] === "1" ? 20 : 4;

interface Object {
  readonly metadata: { readonly name: string; readonly uid: string };
}

test("the shop comes up, is used as its users do, and goes", async () => {
  await withLabs((lab) => {
    const up = lab.fairlead("up", "-f", "examples/shop");
    assert.equal(up.status, 0, up.stdout + up.stderr);
    assert.match(up.stdout, /Ready in \d+\.\d\d s\./);
    const packets = /going on without packets/.test(up.stdout) ? "off" : "on";

    const pods = lab.fairlead("get", "pods", "-A", "-o", "wide");
    assert.match(pods.stdout, /production\s+postgres-0\s+1\/1\s+Running/);
    const trace = lab.fairlead("trace", "production/frontend", "http://api-server");
    assert.match(trace.stdout, packets === "on" ? /delivered to one of 2 endpoints/ : /2 endpoints/);
    assert.match(
      trace.stdout,
      /Service production\/api-server spec\.clusterIP \(examples\/shop\/api-server\.yaml:\d+\)/,
    );
    assert.match(lab.fairlead("show", "services", "node-1").stdout, /# EndpointSlice production\/api-server-/);
    assert.match(lab.fairlead("show", "dns").stdout, /api-server\.production\.svc\.cluster\.local/);
    if (packets === "on") useTheShop(lab);

    assert.equal(lab.fairlead("down").status, 0);
    assert.deepEqual(lab.processes(), []);
    assert.deepEqual(
      readdirSync(lab.home).filter((name) => name !== "images.json"),
      [],
    );
  });
});

function useTheShop(lab: TestLab): void {
  const hostname = lab.fairlead(
    "exec",
    "-n",
    "production",
    "deploy/frontend",
    "--",
    "curl",
    "-s",
    "http://api-server/hostname",
  );
  assert.match(hostname.stdout, /^api-server-/, hostname.stderr);
  const outside = lab.fairlead("trace", "internet", "node/node-2:30080", "--live");
  assert.equal(outside.status, 0, outside.stdout + outside.stderr);
  assert.match(outside.stdout, /live\s+answered/);
  const refused = lab.fairlead("trace", "staging/debug", "production/api-server:81", "--live");
  assert.equal(refused.status, 1, refused.stdout);
  assert.match(refused.stdout, /REFUSED/);
  const failing = lab.fairlead("exec", "-n", "staging", "debug", "--", "sh", "-c", "exit 7");
  assert.equal(failing.status, 7);
  assert.match(lab.fairlead("logs", "-n", "production", "job/smoke-test").stdout, /the shop is open/);
  assert.match(lab.fairlead("logs", "-n", "kube-system", "deployment/coredns").stdout, /\S/);
}

for (const victim of ["outer process", "daemon"] as const) {
  test(`kill -9 of the ${victim}: nothing lives on, and the next up has every object`, async () => {
    await withLabs(async (lab) => {
      const up = lab.fairlead("up", "-f", "examples/shop");
      assert.equal(up.status, 0, up.stdout + up.stderr);
      const before = uidsOf(lab, "deployments");
      assert.ok(before.size >= 5);
      const outer = (JSON.parse(readFileSync(join(lab.home, "default", "daemon.pid"), "utf8")) as { pid: number }).pid;
      const daemon = lab
        .processes()
        .find(
          (pid) => pid !== outer && commandOf(pid).includes("src/lab/daemon.ts") && !commandOf(pid).startsWith("sh"),
        );
      process.kill(victim === "daemon" ? (daemon ?? outer) : outer, "SIGKILL");
      await gone(lab);
      const again = lab.fairlead("up");
      assert.equal(again.status, 0, again.stdout + again.stderr);
      assert.deepEqual(uidsOf(lab, "deployments"), before);
      assert.match(lab.fairlead("status").stdout, /(\d+) of \1 pods ready/);
    });
  });
}

test("killed while it starts, the next up starts it", async () => {
  await withLabs(async (lab) => {
    const started = lab.start("up", "-f", "examples/shop");
    await until(() => existsSync(join(lab.home, "default", "daemon.pid")));
    const outer = (JSON.parse(readFileSync(join(lab.home, "default", "daemon.pid"), "utf8")) as { pid: number }).pid;
    process.kill(outer, "SIGKILL");
    await started.ended;
    await gone(lab);
    const up = lab.fairlead("up", "-f", "examples/shop");
    assert.equal(up.status, 0, up.stdout + up.stderr);
  });
});

test(`${rounds} rounds of up and down leave no process, namespace, link or file`, async () => {
  await withLabs(async (lab) => {
    lab.fairlead("up");
    lab.fairlead("down");
    const links = hostLinks();
    const temporary = temporaryFiles();
    const namespaces = networkNamespaces();
    for (let round = 0; round < rounds; round++) {
      const up = lab.fairlead("up", "--no-wait");
      assert.equal(up.status, 0, up.stdout + up.stderr);
      assert.equal(lab.fairlead("down").status, 0);
    }
    await gone(lab);
    assert.equal(hostLinks(), links);
    assert.deepEqual(temporaryFiles(), temporary);
    assert.deepEqual(
      readdirSync(lab.home).filter((name) => name !== "images.json"),
      [],
    );
    // Other tests have namespaces of their own meanwhile: none of ours may be among those that are new.
    const mine = [...networkNamespaces()].filter((each) => !namespaces.has(each));
    assert.ok(mine.length <= namespaces.size + 4, `${mine.length} new network namespaces`);
  });
});

test("two labs live side by side", async () => {
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--name", "one", "--nodes", "2").status, 0);
    assert.equal(lab.fairlead("up", "--name", "two", "--nodes", "1").status, 0);
    assert.equal(lab.fairlead("get", "nodes", "-o", "name", "--name", "one").stdout.trim().split("\n").length, 2);
    assert.equal(lab.fairlead("get", "nodes", "-o", "name", "--name", "two").stdout.trim().split("\n").length, 1);
    for (const name of ["one", "two"]) assert.equal(lab.fairlead("kubeconfig", "--merge", "--name", name).status, 0);
    const merged = (): string => readFileSync(join(lab.userHome, ".kube", "config"), "utf8");
    assert.match(merged(), /name: fairlead-one[\s\S]*name: fairlead-two/);
    const down = lab.fairlead("down", "--name", "one");
    assert.match(down.stdout, /its context is out of ~\/\.kube\/config/);
    assert.doesNotMatch(merged(), /fairlead-one/);
    assert.match(merged(), /current-context: fairlead-two/);
    assert.equal(lab.fairlead("status", "--name", "one").status, 1);
    assert.equal(lab.fairlead("status", "--name", "two").status, 0);
  });
});

test("three labs started at the same moment get a port each", async () => {
  await withLabs(async (lab) => {
    const names = ["one", "two", "three"];
    const started = await Promise.all(names.map((name) => lab.start("up", "--name", name, "--nodes", "1").ended));
    for (const { status, stdout, stderr } of started) assert.equal(status, 0, stdout + stderr);
  });
});

test("node ports come from the range that --service-node-port-range says; what a Service has it keeps with another one", async () => {
  await withLabs((lab) => {
    const service = (name: string, label: string): string =>
      lab.file(
        `${name}.yaml`,
        `apiVersion: v1
kind: Service
metadata: { name: ${name}, labels: { since: ${label} } }
spec: { type: NodePort, ports: [{ port: 80 }] }
`,
      );
    const portOf = (name: string): number => {
      const { stdout } = lab.fairlead("get", "service", name, "-o", "json");
      return (JSON.parse(stdout) as { spec: { ports: readonly { nodePort: number }[] } }).spec.ports[0]?.nodePort ?? 0;
    };
    const up = (...range: readonly string[]): void => {
      const { status, stdout, stderr } = lab.fairlead("up", "--packets", "off", "--nodes", "1", ...range);
      assert.equal(status, 0, stdout + stderr);
    };
    up("--service-node-port-range", "20000-20047");
    assert.equal(lab.fairlead("apply", "-f", service("old", "first")).status, 0);
    const port = portOf("old");
    assert.ok(port >= 20_000 && port <= 20_047, String(port));
    assert.match(
      lab.fairlead("up", "--service-node-port-range", "1-9").stderr,
      /--service-node-port-range: .* runs already/,
    );
    lab.fairlead("down", "--keep");
    up("--service-node-port-range", "30000-32767");
    assert.equal(lab.fairlead("apply", "-f", service("old", "second")).status, 0);
    assert.equal(portOf("old"), port);
    assert.equal(lab.fairlead("apply", "-f", service("new", "second")).status, 0);
    assert.ok(portOf("new") >= 30_000, String(portOf("new")));
  });
});

test("a lab whose folder was removed by hand ends; other folders beside labs are none", async () => {
  await withLabs(async (lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "1").status, 0);
    rmSync(join(lab.home, "default"), { recursive: true });
    await gone(lab);
    mkdirSync(join(lab.home, ".cache"));
    const down = lab.fairlead("down", "--all");
    assert.equal(down.status, 0, down.stderr);
  });
});

function uidsOf(lab: TestLab, resource: string): ReadonlyMap<string, string> {
  const { stdout, stderr } = lab.fairlead("get", resource, "-A", "-o", "json");
  assert.notEqual(stdout, "", stderr);
  const { items } = JSON.parse(stdout) as { items: readonly Object[] };
  return new Map(items.map(({ metadata }) => [metadata.name, metadata.uid]));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

async function gone(lab: TestLab): Promise<void> {
  await until(() => lab.processes().length === 0);
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "it did not happen within 20 s");
    await new Promise((resolve) => void setTimeout(resolve, 20));
  }
}

function temporaryFiles(): readonly string[] {
  return readdirSync(tmpdir()).filter(
    (name) => /fairlead/.test(name) && !/^fairlead-(test|bench|scenario)-/.test(name),
  );
}
