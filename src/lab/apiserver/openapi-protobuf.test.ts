import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { readFields, type WireField } from "./protobuf/wire.ts";
import { startTestServer, type TestServer } from "./server.testing.ts";

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server.close());

/** The fields of a message by number. */
function fieldsOf(bytes: Uint8Array | undefined): ReadonlyMap<number, readonly WireField[]> {
  return Map.groupBy(readFields(bytes ?? new Uint8Array()), ({ number }) => number);
}

function textOf(fields: readonly WireField[] | undefined): string[] {
  return (fields ?? []).map(({ bytes }) => Buffer.from(bytes ?? []).toString());
}

/** A list of messages of a name and a value. */
function namedOf(
  fields: readonly WireField[] | undefined,
): ReadonlyMap<string, ReadonlyMap<number, readonly WireField[]>> {
  return new Map(
    (fields ?? []).map(({ bytes }) => {
      const parts = fieldsOf(bytes);
      return [textOf(parts.get(1))[0] ?? "", fieldsOf(parts.get(2)?.[0]?.bytes)] as const;
    }),
  );
}

test("version 2 in protobuf says what it says in JSON", async () => {
  const response = await fetch(`${server.url}/openapi/v2`, {
    headers: { Accept: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" },
  });
  assert.equal(response.headers.get("content-type"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
  const document = fieldsOf(new Uint8Array(await response.arrayBuffer()));
  const { body } = await server.send("GET", "/openapi/v2");
  assert.deepEqual(textOf(document.get(1)), ["2.0"]);

  const definitions = namedOf(fieldsOf(document.get(9)?.[0]?.bytes).get(1));
  assert.deepEqual([...definitions.keys()], Object.keys(body.definitions as object));
  const name = "io.k8s.api.core.v1.ServicePort";
  const port = definitions.get(name);
  const properties = namedOf(fieldsOf(port?.get(25)?.[0]?.bytes).get(1));
  const json = body.definitions[name] as { properties: { [name: string]: { type?: string } }; required: string[] };
  assert.deepEqual([...properties.keys()], Object.keys(json.properties));
  assert.deepEqual(textOf(port?.get(19)), json.required);
  assert.deepEqual(textOf(fieldsOf(properties.get("port")?.get(22)?.[0]?.bytes).get(1)), [
    json.properties["port"]?.type,
  ]);
  // Lists below x-… are one value.
  const pod = definitions.get("io.k8s.api.core.v1.Pod");
  const [extension] = [...namedOf(pod?.get(31)).entries()];
  assert.equal(extension?.[0], "x-kubernetes-group-version-kind");
  assert.deepEqual(JSON.parse(textOf(extension?.[1].get(2))[0] ?? ""), [{ group: "", kind: "Pod", version: "v1" }]);

  const paths = namedOf(fieldsOf(document.get(8)?.[0]?.bytes).get(2));
  assert.deepEqual([...paths.keys()], Object.keys(body.paths as object));
});
