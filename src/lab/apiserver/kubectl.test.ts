// The real kubectl against the server: the commands people type, in one session.

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";

import { startTestServer, type TestServer } from "./server.testing.ts";

const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
const skip = hasKubectl ? false : "there is no kubectl on PATH; CI has one";

let server: TestServer;
let folder: string;
before(async () => {
  server = await startTestServer();
  folder = mkdtempSync(join(tmpdir(), "fairlead-kubectl-"));
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
  rmSync(folder, { recursive: true });
});

interface Result {
  readonly code: number | null;
  readonly output: string;
}

interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Result>;
  /** Resolves when the output says it. */
  until(said: RegExp): Promise<void>;
}

/** Starts a command line, split at spaces, against the server. */
function start(line: string): Running {
  const child = spawn("kubectl", ["--server", server.url, ...line.split(" ")], {
    env: { PATH: process.env["PATH"], HOME: folder, KUBECONFIG: join(folder, "none") },
  });
  let output = "";
  let heard = (): void => undefined;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      heard();
    });
  const ended = new Promise<Result>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
  return {
    child,
    ended,
    until: (said) =>
      new Promise((resolve, reject) => {
        heard = () => {
          if (said.test(output)) resolve();
        };
        heard();
        void ended.then(() => reject(new Error(`kubectl ${line} ended without saying ${said}:\n${output}`)));
      }),
  };
}

function kubectl(line: string, input = ""): Promise<Result> {
  const { child, ended } = start(line);
  child.stdin.end(input);
  return ended;
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const manifest = (replicas: number, extra = ""): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx, ports: [{containerPort: 80}]${extra}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`;

/** Runs lines in order: each must end well (or with the given code) and say what is expected. */
async function session(
  lines: readonly (readonly [line: string, said: RegExp, input?: string | undefined, code?: number])[],
): Promise<void> {
  for (const [line, said, input, code = 0] of lines) {
    const result = await kubectl(line, input);
    assert.equal(result.code, code, `kubectl ${line}\n${result.output}`);
    assert.match(result.output, said, `kubectl ${line}`);
  }
}

test("create, apply, diff, get, patch, replace, delete", { skip }, async () => {
  const path = file("web.yaml", manifest(2));
  const changed = file("changed.yaml", manifest(3, ", env: [{name: A, value: b}]"));
  await session([
    [`apply -f ${path}`, /deployment.apps\/web created\nservice\/web created/],
    [`apply -f ${path}`, /deployment.apps\/web unchanged/],
    [`diff -f ${path}`, /^$/],
    [`diff -f ${changed}`, /\+ {2}replicas: 3/, undefined, 1],
    [`apply -f ${changed}`, /deployment.apps\/web configured\nservice\/web unchanged/],
    ["get deploy,svc", /deployment.apps\/web +0\/3 +0 +0/],
    ["get deploy web -o jsonpath={.spec.replicas}", /^3$/],
    ["get deploy -A --chunk-size=1 -l app=web -o name", /^deployment.apps\/web\n$/],
    ["scale deploy web --replicas=1", /scaled/],
    ["label deploy web tier=front", /labeled/],
    ["annotate deploy web note=x", /annotated/],
    ["set image deploy/web c=nginx:2", /image updated/],
    ['patch deploy web -p {"spec":{"template":{"spec":{"containers":[{"name":"d","image":"x"}]}}}}', /patched/],
    ['patch deploy web --type=merge -p {"spec":{"replicas":4}}', /patched/],
    ['patch deploy web --type=json -p [{"op":"remove","path":"/spec/template/spec/containers/1"}]', /patched/],
    ["get deploy web -o jsonpath={.spec.replicas}{.spec.template.spec.containers[*].image}", /^4(nginx:2|x)$/],
    [`replace -f ${path}`, /deployment.apps\/web replaced/],
    ["describe deploy web", /Replicas: +2 desired/],
    [`delete -f ${path}`, /deployment.apps "web" deleted/],
    ["get deploy web", /NotFound/, undefined, 1],
  ]);
});

test("server-side apply: conflicts are told and can be forced", { skip }, async () => {
  const path = file("ssa.yaml", manifest(2));
  const other = file("other.yaml", manifest(5));
  await session([
    [`apply --server-side -f ${path}`, /serverside-applied/],
    [`apply --server-side --field-manager=b -f ${other}`, /conflict with "kubectl": .spec.replicas/, undefined, 1],
    [`apply --server-side --field-manager=b --force-conflicts -f ${other}`, /serverside-applied/],
    ["get deploy web -o jsonpath={.spec.replicas}", /^5$/],
    [`delete -f ${path}`, /deleted/],
  ]);
});

test("protobuf bodies, dry runs, explain, discovery, wait", { skip }, async () => {
  await session([
    ["create namespace team", /namespace\/team created/],
    ["create deployment d --image=nginx -n team", /deployment.apps\/d created/],
    ["create configmap c --from-literal=a=b --dry-run=server -o jsonpath={.data.a}", /^b$/],
    ["get configmap c", /NotFound/, undefined, 1],
    ["explain deployment.spec.strategy", /rollingUpdate\t<RollingUpdateDeployment>/],
    // Asks for OpenAPI version 2 in protobuf.
    ["explain service.spec.ports --output=plaintext-openapiv2", /targetPort\t<string>/],
    ["explain pod --recursive", /containers\t<\[\]Container> -required-/],
    ["api-resources --api-group=apps -o name", /deployments.apps/],
    ["api-versions", /^apps\/v1$/m],
    ["run p --image=nginx", /pod\/p created/],
    ["wait --for=jsonpath={.status.phase}=Pending pod/p --timeout=10s", /condition met/],
    ["delete pod p --timeout=10s", /pod "p" deleted/],
    [
      "create -f -",
      /strict decoding error: unknown field "foo"/,
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"foo":1}',
      1,
    ],
    ["get --raw /version", /"major":"1"/],
    ["version", /Server Version: v1\./],
  ]);
});

test("a watch prints what happens", { skip }, async () => {
  await session([["create configmap first --from-literal=a=b", /created/]]);
  const watching = start("get configmaps -w --output-watch-events");
  await watching.until(/^ADDED +first/m);
  await session([
    ["create configmap seen --from-literal=a=b", /created/],
    ["label configmap seen x=y", /labeled/],
    ["delete configmap seen", /deleted/],
  ]);
  await watching.until(/^ADDED +seen[^]*^MODIFIED +seen[^]*^DELETED +seen/m);
  watching.child.kill();
  await watching.ended;
});
