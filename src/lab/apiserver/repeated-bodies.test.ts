import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { createRepeatedBodies } from "./repeated-bodies.ts";
import { startTestServer, type Answered } from "./server.testing.ts";

const long = "x".repeat(300);

test("any text is read as JSON.parse reads it, the first time and every other", () => {
  const parse = createRepeatedBodies(4);
  const spec = fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue());
  const body = fc.record({ metadata: fc.jsonValue(), spec, long: fc.constant(long), "\\": fc.jsonValue() });
  const space = fc.constantFrom(undefined, 1, "\t\n ");
  fc.assert(
    fc.property(body, space, fc.integer({ min: 0, max: 400 }), (value, indent, cut) => {
      const text = JSON.stringify(value, undefined, indent);
      for (let times = 0; times < 4; times++) assert.deepEqual(parse(text, "v1 Pod"), JSON.parse(text));
      // And one that ends too early, or misses a character.
      for (const broken of [text.slice(0, cut), text.slice(0, cut) + text.slice(cut + 1)])
        assert.deepEqual(
          resultOf(() => parse(broken, "v1 Pod")),
          resultOf(() => JSON.parse(broken)),
        );
    }),
  );
});

function resultOf(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    return String(error);
  }
}

test("a specification that is there twice, or is written otherwise, is the last one", () => {
  const parse = createRepeatedBodies();
  const texts = [
    `{"spec":{"a":1},"long":"${long}","spec":{"b":2}}`,
    `{"spec":{"a":1},"long":"${long}","\\u0073pec":{"b":2}}`,
    `{"\\u0073pec":{"b":2},"long":"${long}","spec":{"a":1}}`,
    `{"spec":{"a":1},"long":"${long}","spec":[]}`,
    `{"spec" : {"a":"}\\\\\\"{"} ,"long":"${long}"}`,
    `{"metadata":{"spec":{"c":3}},"long":"${long}"}`,
    `["spec",{"a":1},"${long}"]`,
    `{"spec":${"[".repeat(300)}${"]".repeat(300)}}`,
    `{"spec":{"a":1},"long":"${long}"}`,
  ];
  for (let times = 0; times < 4; times++)
    for (const text of texts) assert.deepEqual(parse(text, "v1 Pod"), JSON.parse(text), text.slice(0, 80));
});

test("the same specification is the same value from the second time on, a kind for itself", () => {
  const parse = createRepeatedBodies();
  const read = (name: string, kind: string): unknown =>
    (parse(`{"metadata":{"name":"${name}"},"spec":{"long":"${long}"}}`, kind) as { spec: unknown }).spec;
  read("first", "v1 Pod");
  assert.equal(read("second", "v1 Pod"), read("third", "v1 Pod"));
  read("first", "v1 Service");
  assert.notEqual(read("second", "v1 Service"), read("third", "v1 Pod"));
});

const path = "/api/v1/namespaces/default/pods";
const env = Array.from({ length: 20 }, (_, index) => ({ name: `V${index}`, value: "some value" }));

function pod(name: string, more: object = {}): object {
  const container = { name: "c", image: "nginx", env, ports: [{ containerPort: 80 }], ...more };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { containers: [container], restartPolicy: "Always" },
  };
}

test("objects that are alike are stored, refused and warned of like any other, whichever comes first", async () => {
  const server = await startTestServer();
  try {
    const create = async (body: object): Promise<Answered> => server.send("POST", path, body);
    const specs: unknown[] = [];
    for (const name of ["a", "b", "c", "d"]) {
      const { status, body } = await create(pod(name));
      assert.equal(status, 201);
      specs.push([body.spec, body.metadata.managedFields[0].fieldsV1]);
    }
    for (const each of specs) assert.deepEqual(each, specs[0]);
    const refused: unknown[] = [];
    for (const name of ["e", "e", "e", "e"]) {
      const { status, body } = await create(pod(name, { resources: { limits: { cpu: "-1" } }, ports: [{}] }));
      refused.push([status, body.message, body.details]);
    }
    assert.deepEqual(new Set(refused.map((each) => JSON.stringify(each))).size, 1);
    assert.match(JSON.stringify(refused[0]), /limits\[cpu\].*must be greater than or equal to 0/);
    const warned: unknown[] = [];
    for (const name of ["f", "g", "h", "i"]) {
      const { status, headers } = await create(pod(name, { colour: "red" }));
      warned.push([status, headers.get("warning")]);
    }
    assert.deepEqual(
      warned,
      Array.from({ length: 4 }, () => [201, '299 - "unknown field \\"spec.containers[0].colour\\""']),
    );
    const wrong: unknown[] = [];
    for (const name of ["j", "j", "j"]) wrong.push((await create(pod(name, { image: 5 }))).body.message);
    assert.deepEqual(new Set(wrong).size, 1);
    assert.match(String(wrong[0]), /image/);
  } finally {
    server.close();
  }
});

test("one that is changed afterwards changes alone", async () => {
  const server = await startTestServer();
  try {
    for (const name of ["a", "b", "c"]) await server.send("POST", path, pod(name));
    const patch = { spec: { containers: [{ name: "c", image: "other" }] } };
    const type = { "Content-Type": "application/strategic-merge-patch+json" };
    assert.equal((await server.send("PATCH", `${path}/b`, patch, type)).status, 200);
    await server.send("POST", path, pod("d"));
    const images = (await server.send("GET", path)).body.items.map(
      ({ spec }: { spec: { containers: { image: string }[] } }) => spec.containers[0]?.image,
    );
    assert.deepEqual(images, ["nginx", "other", "nginx", "nginx"]);
  } finally {
    server.close();
  }
});
