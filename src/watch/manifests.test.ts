import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import * as fc from "fast-check";
import { stringify } from "yaml";

import { annotations } from "../kube/object.ts";
import { parseManifests, readManifests } from "./manifests.ts";

const shop = `# The shop.
apiVersion: v1
kind: Service
metadata:
  name: api-server
spec:
  selector:
    app: api
  ports:
    - port: 80
      targetPort: http
    - { name: metrics, port: 9090 }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data:
  yes: "no"
---
# nothing here
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata:
      name: production
`;

function messages(text: string): string[] {
  return parseManifests(text, "a.yaml").problems.map(({ severity, message }) => `${severity} ${message}`);
}

test("objects in order, each knowing its lines", () => {
  const named = shop.replace("    - port: 80\n", "    - port: 80\n      name: web\n");
  const { objects, problems } = parseManifests(named, "shop.yaml");
  assert.deepEqual(problems, []);
  assert.deepEqual(
    objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`),
    ["Service api-server", "ConfigMap settings", "Namespace production"],
  );
  const sources = objects.map(
    (object) => JSON.parse(object.metadata.annotations?.[annotations.source] ?? "") as { lines: object },
  );
  assert.deepEqual(sources[0], {
    file: "shop.yaml",
    line: 2,
    lines: {
      spec: 6,
      "spec.selector": 7,
      "spec.selector.app": 8,
      "spec.ports": 9,
      "spec.ports[0]": 10,
      "spec.ports[0].name": 11,
      "spec.ports[0].targetPort": 12,
      "spec.ports[1]": 13,
    },
  });
  assert.deepEqual(sources[1], { file: "shop.yaml", line: 15, lines: {} }, "nobody asks for the lines of data");
  assert.deepEqual(sources[2], { file: "shop.yaml", line: 26, lines: {} }, "items of a List are objects of their own");
});

const wrong: readonly { what: string; text: string; says: readonly string[] }[] = [
  {
    what: "a value out of range, where it stands",
    text: shop.replace("port: 9090", "port: 99999"),
    says: [
      "error a.yaml:10: Service api-server: spec.ports[0].name: Required value",
      "error a.yaml:12: Service api-server: spec.ports[1].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
      "error a.yaml:12: Service api-server: spec.ports[1].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive",
    ],
  },
  {
    what: "an unknown field",
    text: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n    image: x\n    comand: [a]\n",
    says: ['error a.yaml:9: Pod a: unknown field "spec.containers[0].comand"'],
  },
  {
    what: "a wrong type",
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  on: off\n",
    says: [
      'error a.yaml:5: ConfigMap a: data[true]: Invalid value: "boolean": data[true] in body must be of type string: "boolean" (YAML reads yes, no, on, off, y and n as booleans: put text in quotes)',
    ],
  },
  {
    what: "a tab",
    text: "kind: Pod\nmetadata:\n\tname: a\n",
    says: ["error a.yaml:3: YAML: a tab where spaces are needed: indent with spaces only"],
  },
  {
    what: "a key that is there twice",
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n",
    says: ["error a.yaml:5: YAML: this key is there twice in the same mapping: remove one of them"],
  },
  {
    what: "broken YAML",
    text: "kind: [Pod\n",
    says: ["error a.yaml:2: YAML: Flow sequence in block collection must be sufficiently indented and end with a ]"],
  },
  {
    what: "a kind nobody knows",
    text: "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n",
    says: [
      'error a.yaml:2: Deployment a: kind: no matches for kind "Deployment" in version "apps/v1beta1"; it is kind Deployment in version apps/v1',
    ],
  },
  {
    what: "no object at all",
    text: "- a\n---\nhello\n---\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n",
    says: [
      "error a.yaml:1: this is no Kubernetes object: it must be a mapping with apiVersion and kind",
      "error a.yaml:3: this is no Kubernetes object: it must be a mapping with apiVersion and kind",
      "error a.yaml:5: apiVersion: Required value: such as v1 or apps/v1",
      "error a.yaml:7: Pod: metadata: Required value: with a name in it",
    ],
  },
  {
    what: "two objects of one name that say different things",
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata: {x: z}\n",
    says: [
      'error a.yaml:5: ConfigMap default/a: metadata.name: Duplicate value: "a": it is also at a.yaml:1, and says something else there',
    ],
  },
  {
    what: "what is allowed and probably not meant",
    text: "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: x\n    env:\n    - {name: A, value: b}\n    - {name: A, value: c}\n",
    says: [
      'warning a.yaml:10: Pod a: spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
    ],
  },
];

for (const { what, text, says } of wrong)
  test(what, () => {
    assert.deepEqual(messages(text), says);
  });

test("scalars as kubectl reads them", () => {
  const { objects } = parseManifests(
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: yes\n  containers: [{name: c, image: x, args: [12:30, 2026-01-31, ~x]}]\n  volumes: [{name: v, configMap: {name: x, defaultMode: 0644}}]\n",
    "a.yaml",
  );
  const spec = objects[0]?.["spec"] as {
    hostNetwork: unknown;
    containers: { args: unknown }[];
    volumes: { configMap: { defaultMode: unknown } }[];
  };
  assert.equal(spec.hostNetwork, true);
  assert.deepEqual(spec.containers[0]?.args, ["12:30", "2026-01-31", "~x"]);
  assert.equal(spec.volumes[0]?.configMap.defaultMode, 0o644);
});

test("JSON, also with tabs, and anchors with merges", () => {
  const json = JSON.stringify(
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { x: "y" } },
    undefined,
    "\t",
  );
  assert.equal(parseManifests(json, "a.json").objects[0]?.metadata.name, "a");
  const merged = parseManifests(
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: &l {x: z}, annotations: {<<: *l, q: r}}\nspec: {containers: [{name: c, image: i}]}\n",
    "a.yaml",
  );
  const { [annotations.source]: _, ...rest } = merged.objects[0]?.metadata.annotations ?? {};
  assert.deepEqual(rest, { x: "z", q: "r" });
});

test("a bomb of aliases is refused", () => {
  const levels = [
    "a: &a [x, x, x, x, x, x, x, x, x]",
    ..."bcdefgh"
      .split("")
      .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[index]}`).join(", ")}]`),
  ];
  const { objects, problems } = parseManifests(levels.join("\n"), "bomb.yaml");
  assert.deepEqual(objects, []);
  assert.match(problems[0]?.message ?? "", /^bomb\.yaml:1: YAML: Excessive alias count/);
});

test("files, folders, and what is no file", (context) => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-manifests-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const map = (name: string): string => stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
  writeFileSync(join(folder, "b.yml"), map("b"));
  writeFileSync(join(folder, "a.yaml"), map("a"));
  writeFileSync(join(folder, "README.md"), "# no manifest");
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, "binary"), new Uint8Array([0xff, 0xfe, 0x00]));
  const { objects, problems } = readManifests([
    folder,
    join(folder, "a.yaml"),
    join(folder, "empty"),
    join(folder, "missing"),
    join(folder, "binary"),
  ]);
  assert.deepEqual(
    objects.map(({ metadata }) => metadata.name),
    ["a", "b"],
    "the same manifest twice counts once",
  );
  assert.deepEqual(
    problems.map(({ message }) => message.replace(`${folder}/`, "")),
    [
      "empty: no .yaml, .yml or .json file in this folder (folders in it are not read)",
      "missing: there is no such file or folder",
      "binary: this is not UTF-8 text",
    ],
  );
});

test("any text gives objects or problems, never a crash", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "\n",
      "  ",
      "- ",
      "---\n",
      "kind: Pod\n",
      "apiVersion: v1\n",
      "metadata: {name: a}\n",
      "spec:\n",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "<<: ",
      "\t",
      "? ",
      "!!binary ",
      "!!set ",
      "|\n",
      '"',
      "#",
      "%YAML 1.1\n",
      "? [a]\n: b\n",
      "__proto__: x\n",
    ),
    fc.string({ maxLength: 5 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const { objects, problems } = parseManifests(pieces.join(""), "fuzz.yaml");
      for (const { message } of problems) assert.match(message, /^fuzz\.yaml:\d+: /);
      for (const object of objects) assert.equal(typeof object.kind, "string");
    }),
    { numRuns: 500 },
  );
});

test("any JSON as YAML gives its value back, or problems", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
      const manifest = {
        apiVersion: "apps/v1",
        kind: "ControllerRevision",
        metadata: { name: "a" },
        revision: 1,
        data: { value },
      };
      const text = stringify(manifest, { version: "1.1" });
      const { objects, problems } = parseManifests(text, "a.yaml");
      assert.deepEqual(problems, []);
      assert.equal(JSON.stringify(objects[0]?.["data"]), JSON.stringify({ value }));
    }),
  );
});
