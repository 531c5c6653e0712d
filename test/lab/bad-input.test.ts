// What people get wrong: manifests, flags, names. Each is said in words, with file and line where there is one, nothing is half-applied,
// the exit status is 1, and no stack trace is printed.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withLabs, type CommandResult, type TestLab } from "./lab.testing.ts";

interface BadManifest {
  readonly text: string;
  /** What standard error must match; `FILE` stands for the file's path. */
  readonly says: RegExp;
}

const manifests: Readonly<Record<string, BadManifest>> = {
  "broken YAML": { text: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n spec: {\n", says: /FILE:5: YAML: / },
  tabs: {
    text: "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n",
    says: /FILE:4: YAML: a tab where spaces are needed/,
  },
  "a key twice": {
    text: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: "1"\n  x: "2"\n',
    says: /FILE:6: YAML: this key is there twice/,
  },
  "an unknown field": {
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{port: 80, tragetPort: 80}]\n",
    says: /FILE:5: Service a: unknown field "spec\.ports\[0\]\.tragetPort"/,
  },
  "a wrong type": {
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: eighty\n",
    says: /FILE:6: Service a: spec\.ports\[0\]\.port: Invalid value: /,
  },
  "a name twice": {
    text: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: "1"}\n',
    says: /FILE:5: ConfigMap a: metadata\.name: Duplicate value: "a": it is also at FILE:1/,
  },
  "a port out of range": {
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {port: 70000, targetPort: 80}\n",
    says: /FILE:6: Service a: spec\.ports\[0\]\.port: Invalid value: 70000: must be between 1 and 65535, inclusive/,
  },
  "a node port out of range": {
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: NodePort\n  selector: {a: b}\n  ports:\n  - {port: 80, nodePort: 80}\n",
    says: /FILE:8: Service default\/a: spec\.ports\[0\]\.nodePort: Invalid value: 80: .*30000-32767/,
  },
  "an unknown kind": {
    text: "apiVersion: v1\nkind: Sevice\nmetadata: {name: a}\n",
    says: /FILE:\d: Sevice a: kind: no matches for kind "Sevice" in version "v1"/,
  },
  "a namespace that is not there": {
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}\n",
    says: /FILE:1: ConfigMap nowhere\/a: metadata\.namespace: Not found: there is no namespace nowhere/,
  },
  "text that is no object": { text: "just text\n", says: /FILE:1: this is no Kubernetes object/ },
  "an empty file": { text: "", says: /FILE: no objects in there/ },
  "a file that is no text": { text: "\u0000\ud800", says: /FILE/ },
};

const good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n";

test("bad manifests: file, line, status 1, and nothing of them or of their neighbours is stored", async () => {
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "1", "--packets", "off").status, 0);
    const neighbour = lab.file("good.yaml", good);
    for (const [what, { text, says }] of Object.entries(manifests)) {
      const file = lab.file("bad.yaml", text);
      const words = text === "" ? [file] : [neighbour, file];
      const result = lab.fairlead("apply", "-f", ...words);
      refused(result, what, new RegExp(says.source.replaceAll("FILE", file.replaceAll(".", "\\."))));
    }
    const empty = join(lab.home, "empty");
    mkdirSync(empty);
    refused(lab.fairlead("apply", "-f", empty), "an empty folder", /no \.yaml, \.yml or \.json file in this folder/);
    refused(lab.fairlead("apply", "-f", join(lab.home, "nosuch.yaml")), "no file", /there is no such file or folder/);
    refused(lab.fairlead("apply", "-f", manyObjects(lab)), "the last of many", /many\.yaml:6003: ConfigMap BAD: /);
    assert.equal(lab.fairlead("get", "cm", "-o", "name").stdout, "configmap/kube-root-ca.crt\n");
  });
});

test("bad flags and names of a lab that is to start: nothing starts, nothing is left", async () => {
  await withLabs((lab) => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ["--nodes 0", /--nodes 0: must be a number from 1 to 250/],
      ["--nodes many", /--nodes many: must be a number/],
      ["--ip-families ipv5", /--ip-families ipv5: must be ipv4, ipv6 or ipv4,ipv6/],
      [
        "--pod-cidr 10.96.0.0/14",
        /^fairlead up: ipam: pod range 10\.96\.0\.0\/14 overlaps service range 10\.96\.0\.0\/16: choose another --pod-cidr$/m,
      ],
      ["--service-cidr 172.18.0.0/16", /overlaps node range 172\.18\.0\.0\/16: choose another --service-cidr/],
      ["--nodeport-addresses eth0", /--nodeport-addresses eth0 is no CIDR/],
      [
        "--service-node-port-range 40000-30000",
        /40000-30000 are no range of ports .* choose another --service-node-port-range/,
      ],
      ["--nodeport-addresses ::1/128", /the kernel lets no packet of ::1 out/],
      ["--pod-cidr 10.0.0.0/33", /"10\.0\.0\.0\/33" is no prefix/],
      ["--pod-cidr 10.244.0.0/23", /has room for 1 node with a \/23 each, not for 3: give --pod-cidr a \/21 or larger/],
      ["--nodes 200", /pod range 10\.244\.0\.0\/16 has room for 128 nodes/],
      ["--domain Bad_Domain", /cluster domain "Bad_Domain" is no DNS name/],
      ["--timeout soon", /--timeout soon: must be a number of seconds/],
      ["--api-port 0", /--api-port 0: must be a port from 1 to 65535/],
      ["--name ../up", /lab name "\.\.\/up": must be/],
      ["--packets maybe", /argument 'maybe' is invalid/],
      ["--frobnicate", /unknown option '--frobnicate'/],
    ];
    for (const [flags, says] of cases) refused(lab.fairlead("up", ...flags.split(" ")), flags, says);
    assert.deepEqual(readdirSync(lab.home), []);
  });
});

test("without a lab every command says how to start one", async () => {
  await withLabs((lab) => {
    const file = lab.file("good.yaml", good);
    for (const words of [
      "status",
      "get pods",
      `apply -f ${file}`,
      "delete pod a",
      "exec a -- ls",
      "logs a",
      "node stop node-1",
      "image list",
      "show routes",
      "trace a b",
      "kubeconfig",
    ])
      refused(lab.fairlead(...words.split(" ")), words, /start it with:? fairlead up/);
    assert.match(lab.fairlead("down").stdout, /there was none/);
  });
});

test("names that nobody has, and settings that a lab cannot take any more", async () => {
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "1", "--packets", "off", "-f", "examples/shop").status, 0);
    const cases: readonly (readonly [string, RegExp])[] = [
      ["get nosuch", /the server doesn't have a resource type "nosuch"/],
      ["get pods nosuch", /pods "nosuch" not found/],
      ["get pods -l a==b==c", /unable to parse selector/],
      ["exec nosuch -- ls", /pods "nosuch" not found in namespace default/],
      ["exec -n production deploy/frontend -- ls", /packets are off, so no container runs/],
      ["logs nosuch", /pods "nosuch" not found/],
      ["logs -n production deploy/frontend --tail some", /--tail some: must be a number of lines/],
      ["trace nobody production/frontend", /no pod default\/nobody/],
      [
        "trace production/frontend production/nothing:80",
        /no Service and no pod production\/nothing; Services there: .*; pods there: /,
      ],
      ["trace production/frontend production/api-server:99999", /port 99999 must be between 1 and 65535/],
      ["trace production/frontend http://", /is no URL such as/],
      ["trace internet node/node-9:80", /no node node-9; there are: node-1/],
      ["node stop", /which node\?/],
      ["node stop node-9", /nodes "node-9" not found; there are: node-1/],
      ["image add a /nosuch", /\/nosuch: no such file or folder/],
      ["show nosuch", /must be one of routes, /],
      ["show routes node-9", /no node node-9; there are: node-1/],
      ["delete pod", /which\? Give names/],
      ["up --nodes 2", /--nodes 2: lab "default" was made with 1: fairlead node add adds one/],
      ["up --packets on", /lab "default" runs with packets off: stop it first/],
    ];
    for (const [words, says] of cases) refused(lab.fairlead(...words.split(" ")), words, says);
  });
});

function refused(result: CommandResult, what: string, says: RegExp): void {
  assert.match(result.stderr, says, what);
  assert.doesNotMatch(result.stderr, /\n +at .*:\d+:\d+/, `${what}: a stack trace`);
  assert.equal(result.status, 1, what);
}

function manyObjects(lab: TestLab): string {
  const one = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n`;
  const file = join(lab.home, "many.yaml");
  writeFileSync(file, `${Array.from({ length: 1500 }, (_, i) => `${one(`cm-${i}`)}---\n`).join("")}${one("BAD")}`);
  return file;
}
