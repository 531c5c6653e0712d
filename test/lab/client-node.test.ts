// A lab through @kubernetes/client-node, as programs of other people use it: typed calls, patches, informers, exec, logs, port-forward.

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";

import {
  AppsV1Api,
  CoreV1Api,
  Exec,
  KubeConfig,
  KubernetesObjectApi,
  Log,
  makeInformer,
  PatchStrategy,
  PortForward,
  setHeaderOptions,
  type V1Pod,
  type V1Status,
} from "@kubernetes/client-node";
import { withLabs } from "./lab.testing.ts";

const labels = { app: "web" };
const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "default" },
  spec: {
    replicas: 1,
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        containers: [{ name: "web", image: "registry.k8s.io/e2e-test-images/agnhost:2.63.0", args: ["netexec"] }],
      },
    },
  },
};

test("client-node: a deployment, patches of all types, an informer over a restart, exec, logs and port-forward", async (context) => {
  await withLabs(async (lab) => {
    // While this lab is down no other one may get its port: they look from 6443 on.
    const port = 20_000 + (process.pid % 10_000);
    const up = lab.fairlead("up", "--nodes", "2", "--api-port", String(port));
    assert.equal(up.status, 0, up.stdout + up.stderr);
    const hasPackets = !/going on without packets/.test(up.stdout);
    const config = new KubeConfig();
    config.loadFromFile(join(lab.home, "default", "kubeconfig"));
    const core = config.makeApiClient(CoreV1Api);
    const apps = config.makeApiClient(AppsV1Api);

    // Informer: everything that is and everything that changes, also past a restart of the API server.
    const path = "/api/v1/namespaces/default/pods";
    const listPods = () => core.listNamespacedPod({ namespace: "default" });
    const informer = makeInformer<V1Pod>(config, path, listPods);
    let news = Promise.withResolvers<void>();
    const until = async <T>(what: () => T | undefined | false): Promise<T> => {
      for (;;) {
        const found = what();
        if (found !== undefined && found !== false) return found;
        await news.promise;
        news = Promise.withResolvers();
      }
    };
    informer.on("change", () => news.resolve());
    let isRestarting = false;
    let isEnding = false;
    informer.on("error", (error: unknown) => {
      if (isEnding) return;
      assert.ok(isRestarting, String(error));
      // As the library's own example does: begin anew.
      setTimeout(() => {
        if (!isEnding) void informer.start();
      }, 100);
    });
    await informer.start();
    // Whatever fails here, the informer must not wait for its lab for ever.
    context.after(async () => {
      isEnding = true;
      await informer.stop();
    });
    const ready = (): V1Pod | undefined =>
      informer
        .list()
        .find(({ status }) => status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"));

    const objects = KubernetesObjectApi.makeApiClient(config);
    await objects.create(deployment);
    if (!hasPackets) {
      isEnding = true;
      await informer.stop();
      return;
    }
    const name = (await until(ready)).metadata?.name ?? "";
    assert.match(name, /^web-/);

    // Patches.
    const web = { name: "web", namespace: "default" };
    const of = (strategy: string) => setHeaderOptions("Content-Type", strategy);
    const json = [{ op: "add", path: "/metadata/labels", value: { json: "1" } }];
    await apps.patchNamespacedDeployment({ ...web, body: json }, of(PatchStrategy.JsonPatch));
    await apps.patchNamespacedDeployment(
      { ...web, body: { metadata: { labels: { merge: "2" } } } },
      of(PatchStrategy.MergePatch),
    );
    const container = { name: "web", env: [{ name: "A", value: "b" }] };
    const strategic = await apps.patchNamespacedDeployment(
      { ...web, body: { spec: { template: { spec: { containers: [container] } } } } },
      of(PatchStrategy.StrategicMergePatch),
    );
    assert.equal(strategic.spec?.template.spec?.containers[0]?.args?.[0], "netexec", "merged by the container's name");
    const applied = await apps.patchNamespacedDeployment(
      { ...web, fieldManager: "me", force: true, body: { ...deployment, metadata: { ...web, labels: { mine: "3" } } } },
      of(PatchStrategy.ServerSideApply),
    );
    assert.deepEqual(applied.metadata?.labels, { json: "1", merge: "2", mine: "3" });
    assert.ok(
      applied.metadata?.managedFields?.some(({ manager, operation }) => manager === "me" && operation === "Apply"),
    );
    const scaled = await apps.patchNamespacedDeploymentScale(
      { ...web, body: { spec: { replicas: 0 } } },
      of(PatchStrategy.MergePatch),
    );
    assert.equal(scaled.spec?.replicas ?? 0, 0);
    await until(() => informer.list().length === 0);

    // Past a restart: what happened meanwhile is seen.
    isRestarting = true;
    assert.equal(lab.fairlead("down", "--keep").status, 0);
    assert.equal(lab.fairlead("up", "--nodes", "2").status, 0);
    await apps.patchNamespacedDeploymentScale(
      { ...web, body: { spec: { replicas: 1 } } },
      of(PatchStrategy.MergePatch),
    );
    const pod = (await until(ready)).metadata?.name ?? "";
    isRestarting = false;

    // exec: streams apart, and the exit status.
    const [out, errors] = [new PassThrough(), new PassThrough()];
    const ended = Promise.withResolvers<V1Status>();
    const script = ["sh", "-c", "cat; echo oops >&2; exit 3"];
    const input = new PassThrough();
    input.end("from outside\n");
    await new Exec(config).exec("default", pod, "web", script, out, errors, input, false, ended.resolve);
    const status = await ended.promise;
    assert.deepEqual([status.status, status.details?.causes?.[0]?.message], ["Failure", "3"]);
    out.end();
    errors.end();
    assert.deepEqual([await text(out), await text(errors)], ["from outside\n", "oops\n"]);

    // port-forward: bytes of the pod's own server.
    const [answer, request] = [new PassThrough(), new PassThrough()];
    const socket = await new PortForward(config).portForward("default", pod, [8080], answer, null, request);
    request.write("GET /hostname HTTP/1.0\r\n\r\n");
    let said = "";
    while (!said.endsWith(pod)) {
      const [chunk] = (await once(answer, "data")) as [Buffer];
      said += chunk.toString();
    }
    assert.match(said, /^HTTP\/1\.1 200 OK/);
    if (typeof socket !== "function") socket.close();

    // logs: what there is, and what comes.
    const log = new PassThrough();
    await new Log(config).log("default", pod, "web", log, { follow: true });
    let lines = "";
    while (!lines.includes("GET /hostname")) {
      const [chunk] = (await once(log, "data")) as [Buffer];
      lines += chunk.toString();
    }
    // A followed log ends with its container.
    const over = once(log, "end");
    await core.deleteNamespacedPod({ name: pod, namespace: "default", gracePeriodSeconds: 0 });
    log.resume();
    await over;
    isEnding = true;
    await informer.stop();
  });
});
