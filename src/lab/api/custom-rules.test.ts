import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startTestServer, type Answered, type TestServer } from "../apiserver/server.testing.ts";
import { customDefinition } from "./custom-definition.testing.ts";
import { rulesProblems } from "./custom-rule-problems.ts";
import { ruleProblems } from "./custom-rules.ts";
import type { JsonSchema, ValidationRule } from "./custom-schema.ts";

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const short = { type: "string", maxLength: 10 } as const;
const rule = (text: string, more: Partial<ValidationRule> = {}): ValidationRule => ({ rule: text, ...more });

function definition(kind: string, schema: JsonSchema): object {
  return customDefinition(kind, { subresources: { status: {} }, schema: { openAPIV3Schema: schema } });
}

const gadget: JsonSchema = {
  type: "object",
  "x-kubernetes-validations": [rule("self.metadata.name.startsWith('g')", { message: "name must start with g" })],
  properties: {
    status: {
      type: "object",
      properties: { seen: { type: "integer", "x-kubernetes-validations": [rule("self >= 0")] } },
    },
    spec: {
      type: "object",
      "x-kubernetes-validations": [
        rule("!has(self.min) || !has(self.max) || self.min <= self.max", {
          messageExpression: "'min %d is above max %d'.format([self.min, self.max])",
        }),
        rule("!has(self.name) || self.name != 'bad'", {
          fieldPath: ".name",
          reason: "FieldValueForbidden",
          message: "no bad",
        }),
        rule("!has(self.name) || self.name != 'req'", { fieldPath: ".name", reason: "FieldValueRequired" }),
        rule("has(self.port) ? self.port > 3 : true"),
        rule("oldSelf.hasValue() || !has(self.name) || self.name != 'new'", {
          optionalOldSelf: true,
          message: "new not at creation",
        }),
      ],
      properties: {
        name: short,
        min: { type: "integer" },
        max: { type: "integer" },
        port: { "x-kubernetes-int-or-string": true },
        fixed: { type: "string", "x-kubernetes-validations": [rule("self == oldSelf", { message: "immutable" })] },
        list: {
          type: "array",
          maxItems: 9,
          items: { ...short, "x-kubernetes-validations": [rule("self.size() < 3")] },
        },
        labels: {
          type: "object",
          additionalProperties: { ...short, "x-kubernetes-validations": [rule("self != 'no'")] },
        },
        levels: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["type"],
          items: {
            type: "object",
            required: ["type"],
            properties: {
              type: short,
              value: { type: "integer", "x-kubernetes-validations": [rule("self >= oldSelf", { message: "only up" })] },
            },
          },
        },
      },
    },
  },
};

const path = "/apis/example.com/v1/namespaces/default/gadgets";

function create(name: string, spec: object): Promise<Answered> {
  return server.send("POST", path, { apiVersion: "example.com/v1", kind: "Gadget", metadata: { name }, spec });
}

/** What a refusal says behind the object's name. */
function said({ status, body }: Answered): string {
  assert.equal(status, 422, JSON.stringify(body));
  return /is invalid: (.*)$/s.exec(body.message)?.[1] ?? body.message;
}

test("objects that break rules are refused, in the words of kube-apiserver 1.36", async () => {
  assert.equal((await server.send("POST", definitions, definition("Gadget", gadget))).status, 201);
  assert.equal(said(await create("bad", {})), "<nil>: Invalid value: name must start with g");
  assert.equal(said(await create("g", { min: 3, max: 1 })), "spec: Invalid value: min 3 is above max 1");
  assert.equal(said(await create("g", { name: "bad" })), "spec.name: Forbidden: no bad");
  assert.equal(
    said(await create("g", { name: "req" })),
    "spec.name: Required value: failed rule: !has(self.name) || self.name != 'req'",
  );
  assert.equal(said(await create("g", { name: "new" })), "spec: Invalid value: new not at creation");
  assert.equal(
    said(await create("g", { list: ["abc"], labels: { x: "no" } })),
    `[spec.list[0]: Invalid value: "abc": failed rule: self.size() < 3, spec.labels[x]: Invalid value: "no": failed rule: self != 'no']`,
  );
  assert.equal(
    said(await create("g", { port: "a" })),
    `spec: Invalid value: "object": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: has(self.port) ? self.port > 3 : true`,
  );
  assert.match(
    said(await create("g", { name: "far-too-long-a-name" })),
    /spec.name: Too long: may not be more than 10 bytes, <nil>: Invalid value: null: some validation rules were not checked/,
  );
});

test("transition rules compare with what was there, by key in lists; what was wrong before is let be", async () => {
  const { status, body } = await create("g1", { fixed: "a", levels: [{ type: "a", value: 3 }], name: "x" });
  assert.equal(status, 201);
  const put = (spec: object): Promise<Answered> => server.send("PUT", `${path}/g1`, { ...body, spec });
  assert.equal(
    said(await put({ fixed: "b", levels: [{ type: "a", value: 3 }] })),
    'spec.fixed: Invalid value: "b": immutable',
  );
  assert.equal(
    said(
      await put({
        fixed: "a",
        levels: [
          { type: "b", value: 1 },
          { type: "a", value: 2 },
        ],
      }),
    ),
    "spec.levels[1].value: Invalid value: 2: only up",
  );
  assert.equal(
    (
      await put({
        fixed: "a",
        levels: [
          { type: "b", value: 1 },
          { type: "a", value: 4 },
        ],
        name: "new",
      })
    ).status,
    200,
  );
});

test("a status is checked by its rules", async () => {
  const { body } = await server.send("GET", `${path}/g1`);
  const answer = await server.send("PUT", `${path}/g1/status`, { ...body, status: { seen: -1 } });
  assert.equal(said(answer), "status.seen: Invalid value: -1: failed rule: self >= 0");
  assert.equal((await server.send("PUT", `${path}/g1/status`, { ...body, status: { seen: 1 } })).status, 200);
});

test("rules are compiled when the definition is created", async () => {
  const broken: JsonSchema = {
    type: "object",
    properties: {
      spec: {
        type: "object",
        "x-kubernetes-validations": [
          rule("self.nope == 1"),
          rule("self.name"),
          rule("self.name == 'a'", { messageExpression: "1" }),
          rule("self.name != 'b'", { optionalOldSelf: true }),
        ],
        properties: {
          name: short,
          list: {
            type: "array",
            maxItems: 3,
            items: { ...short, "x-kubernetes-validations": [rule("self == oldSelf")] },
          },
        },
      },
    },
  };
  const place = "spec.validation.openAPIV3Schema.properties[spec]";
  const shown = (text: string, message = ""): string =>
    JSON.stringify({
      Rule: text,
      Message: "",
      MessageExpression: message,
      Reason: null,
      FieldPath: "",
      OptionalOldSelf: null,
    });
  assert.equal(
    said(await server.send("POST", definitions, definition("Broken", broken))),
    `[${[
      `${place}.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within ${place}.properties[list]`,
      `${place}.x-kubernetes-validations[0].rule: Invalid value: ${shown("self.nope == 1")}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^`,
      `${place}.x-kubernetes-validations[1].rule: Invalid value: ${shown("self.name")}: cel expression must evaluate to a bool`,
      `${place}.x-kubernetes-validations[2].messageExpression: Invalid value: ${shown("self.name == 'a'", "1")}: messageExpression must evaluate to a string`,
      `${place}.x-kubernetes-validations[3].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule`,
    ].join(", ")}]`,
  );
});

test("what a rule looks like is said before what it means", () => {
  const schema: JsonSchema = {
    type: "object",
    "x-kubernetes-validations": [
      rule(" "),
      rule("true\n&& true"),
      rule("true", { message: " " }),
      rule("true", { reason: "Nope" }),
      rule("true", { fieldPath: ".nope" }),
      rule("nope"),
    ],
  };
  assert.deepEqual(
    rulesProblems(schema, "schema").map(
      ({ field, message }) => `${field.replace("schema.x-kubernetes-validations", "")}: ${message}`,
    ),
    [
      "[0].rule: Required value: rule is not specified",
      "[1].message: Required value: message must be specified if rule contains line breaks",
      '[2].message: Invalid value: " ": must be non-empty if specified',
      '[3].reason: Unsupported value: "Nope": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"',
      '[4].fieldPath: Invalid value: ".nope": must be a valid path',
    ],
  );
});

test("a costly rule ends, and says so", () => {
  const schema: JsonSchema = {
    type: "object",
    properties: {
      list: {
        type: "array",
        items: { type: "integer" },
        "x-kubernetes-validations": [rule("self.all(x, self.all(y, self.all(z, x + y + z > -1)))")],
      },
    },
  };
  const [problem] = ruleProblems({ list: Array.from({ length: 500 }, (_, index) => index) }, schema);
  assert.match(problem?.message ?? "", /actual cost limit exceeded.*no further validation rules will be run/);
});

test("a definition that somebody brings takes the place of a kind from out of the box", async () => {
  const name = "httproutes.gateway.networking.k8s.io";
  const schema: JsonSchema = {
    type: "object",
    properties: {
      spec: {
        type: "object",
        properties: { ours: { type: "string", maxLength: 9, "x-kubernetes-validations": [rule("self != 'no'")] } },
      },
    },
  };
  const brought = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name },
    spec: {
      group: "gateway.networking.k8s.io",
      scope: "Namespaced",
      names: { plural: "httproutes", kind: "HTTPRoute" },
      versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  };
  const routes = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
  const route = (spec: object): Promise<Answered> =>
    server.send("POST", routes, {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "HTTPRoute",
      metadata: { name: "r" },
      spec,
    });
  assert.equal((await server.send("POST", definitions, brought)).status, 201);
  assert.equal(said(await route({ ours: "no" })), `spec.ours: Invalid value: "no": failed rule: self != 'no'`);
  assert.equal((await route({ ours: "yes" })).status, 201);
  const { body } = await server.send("GET", `${routes}/r`);
  assert.deepEqual(body.spec, { ours: "yes" });
});
