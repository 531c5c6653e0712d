// From `apply` of a Service to the first connection through it: the address of a Service that is not there yet is dialled from a pod
// every 2 ms (packets to an address without a Service are dropped) while the manifest goes to the lab. Timed are the lab's own answer to the apply, and the first connection
// after the apply was sent. The command line's own start (a Node process) is left out: it is measured beside.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { labClient } from "../../src/lab/client.ts";
import { labPaths } from "../../src/lab/paths.ts";
import { readManifests } from "../../src/watch/manifests.ts";

const home = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
process.env["FAIRLEAD_HOME"] = home;
const rounds = Number(process.env["ROUNDS"] ?? 21);
const port = 7000;

try {
  const pods = join(home, "pods.yaml");
  writeFileSync(pods, podsManifest());
  must("up", "-f", pods, "--nodes", "2");
  const lab = labClient(labPaths("default"));
  const answered: number[] = [];
  const connected: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const address = `10.96.77.${round + 1}`;
    const file = join(home, "service.yaml");
    writeFileSync(file, serviceManifest(round, address));
    const { objects } = readManifests([file]);
    const { connected: first } = await dialler(address);
    const started = Date.now();
    await lab.call("/apply", { objects });
    const done = Date.now();
    const at = await first;
    // The first round warms up.
    if (round === 0) continue;
    answered.push(done - started);
    connected.push(at - started);
  }
  console.log(`apply of a Service to the first connection through it, from a pod on another node (${rounds} rounds)`);
  console.log(`  apply answered     ${summary(answered)}`);
  console.log(`  first connection   ${summary(connected)}`);
  const file = join(home, "last.yaml");
  writeFileSync(file, serviceManifest(250, "10.96.77.250"));
  const started = Date.now();
  must("apply", "-f", file);
  console.log(`  \`fairlead apply\` as a process, start to end: ${Date.now() - started} ms`);
} finally {
  spawnSync("bin/fairlead", ["down", "--all"]);
  rmSync(home, { recursive: true, force: true });
}

/** Starts dialling in the pod; resolves when it has begun, with a promise of the time of the first connection. */
async function dialler(address: string): Promise<{ readonly connected: Promise<number> }> {
  const script = `
    const net = require("node:net");
    const dial = () => {
      const socket = net.connect({ host: "${address}", port: 80 });
      socket.on("connect", () => { console.log(Date.now()); process.exit(0); });
      socket.on("error", () => {});
      setTimeout(() => socket.destroy(), 200);
    };
    console.log("begun");
    setInterval(dial, 2);`;
  const child = spawn("bin/fairlead", ["exec", "client", "--", "/opt/fairlead/node", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  const lines = (count: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const line = text.split("\n")[count];
        if (line !== undefined && text.split("\n").length > count + 1) resolve(line);
      };
      child.stdout.on("data", look);
      child.once("close", () => reject(new Error(`the dialling pod ended: ${text}`)));
      look();
    });
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
  const connected = lines(1).then(Number);
  await lines(0);
  return { connected };
}

function must(...words: string[]): void {
  const { status, stdout, stderr } = spawnSync("bin/fairlead", words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${stdout}${stderr}`);
}

function podsManifest(): string {
  return `apiVersion: v1
kind: Pod
metadata: {name: server, namespace: default, labels: {app: server}}
spec:
  nodeName: node-2
  containers: [{name: c, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec, --http-port=${port}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  nodeName: node-1
  containers: [{name: c, image: busybox, command: [sleep, infinity]}]
`;
}

function serviceManifest(round: number, address: string): string {
  return `apiVersion: v1
kind: Service
metadata: {name: s${round}, namespace: default}
spec:
  clusterIP: ${address}
  selector: {app: server}
  ports: [{port: 80, targetPort: ${port}}]
`;
}

function summary(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return `median ${at(0.5)} ms, min ${at(0)} ms, max ${at(0.999)} ms`;
}
