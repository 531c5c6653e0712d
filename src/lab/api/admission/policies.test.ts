import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startTestServer, type Answered, type TestServer } from "../../apiserver/server.testing.ts";
import { admissionPlugins } from "./plugins.ts";

let server: TestServer;
before(async () => {
  const ask = ({ account }: { readonly account?: string }): { allowed: boolean } => ({
    allowed: account === undefined,
  });
  server = await startTestServer({ plugins: admissionPlugins({ askAs: () => ask }) });
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

const group = "/apis/admissionregistration.k8s.io/v1";
const apiVersion = "admissionregistration.k8s.io/v1";
const configMaps = "/api/v1/namespaces/default/configmaps";
const rules = (resource = "configmaps", operations = ["CREATE", "UPDATE"]): object => ({
  resourceRules: [{ apiGroups: ["", "apps"], apiVersions: ["v1"], operations, resources: [resource] }],
});

async function policy(name: string, spec: object, binding: object = {}): Promise<void> {
  const made = await server.send("POST", `${group}/validatingadmissionpolicies`, {
    apiVersion,
    kind: "ValidatingAdmissionPolicy",
    metadata: { name },
    spec: { matchConstraints: rules(), ...spec },
  });
  assert.equal(made.status, 201, made.text);
  const bound = await server.send("POST", `${group}/validatingadmissionpolicybindings`, {
    apiVersion,
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name },
    spec: { policyName: name, validationActions: ["Deny"], ...binding },
  });
  assert.equal(bound.status, 201, bound.text);
}

async function forget(name: string): Promise<void> {
  for (const resource of ["validatingadmissionpolicybindings", "validatingadmissionpolicies"])
    assert.equal((await server.send("DELETE", `${group}/${resource}/${name}`)).status, 200);
}

function configMap(name: string, data: object = {}, query = ""): Promise<Answered> {
  return server.send("POST", `${configMaps}${query}`, {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name },
    data,
  });
}

test("a policy refuses by its expressions, messages and reasons", async () => {
  await policy("p", {
    variables: [{ name: "size", expression: "has(object.data) ? object.data.size() : 0" }],
    matchConditions: [{ name: "others", expression: "object.metadata.name != 'free'" }],
    validations: [
      { expression: "variables.size <= 1", messageExpression: "'has %d, may have 1'.format([variables.size])" },
      { expression: "object.metadata.name != 'forbidden'", message: "not this name", reason: "Forbidden" },
      { expression: "object.metadata.name != 'error' || object.nope.nope == 1" },
      { expression: "object.metadata.name != 'who' || request.userInfo.username == 'nobody'" },
      {
        expression:
          "object.metadata.name != 'may' || !authorizer.requestResource.check('create').allowed() || authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()",
      },
      { expression: "object.metadata.name != 'ns' || namespaceObject.metadata.name != 'default'" },
    ],
  });
  const denied = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: ";
  const refused = async (name: string, code: number, why: string): Promise<void> => {
    const { status, body } = await configMap(name, name === "many" ? { a: "1", b: "2" } : {});
    assert.equal(status, code, body.message);
    assert.equal(body.message, `configmaps "${name}" is forbidden: ${denied}${why}`);
    assert.equal(body.reason, code === 403 ? "Forbidden" : "Invalid");
  };
  await refused("many", 422, "has 2, may have 1");
  await refused("forbidden", 403, "not this name");
  await refused(
    "error",
    422,
    "expression 'object.metadata.name != 'error' || object.nope.nope == 1' resulted in error: no such key: nope",
  );
  await refused(
    "who",
    422,
    "failed expression: object.metadata.name != 'who' || request.userInfo.username == 'nobody'",
  );
  assert.equal((await configMap("may")).status, 422);
  assert.equal((await configMap("ns")).status, 422);
  assert.equal((await configMap("free", { a: "1", b: "2" })).status, 201);
  assert.equal((await configMap("one", { a: "1" })).status, 201);
  assert.equal((await configMap("many", { a: "1", b: "2" }, "?dryRun=All")).status, 422);
  await forget("p");
  const many = await configMap("many", { a: "1", b: "2" });
  assert.equal(many.status, 201);
  await policy("p", { validations: [{ expression: "object.metadata.name != 'many'", message: "not this name" }] });
  // An update that changes nothing is one as well.
  const again = await server.send("PUT", `${configMaps}/many`, many.body);
  assert.deepEqual([again.status, again.body.reason], [422, "Invalid"]);
  // Nor is a copy of an object refused for being one before it has been judged.
  const copy = { ...many.body, metadata: { name: "many", resourceVersion: "1" } };
  assert.match((await server.send("POST", configMaps, copy)).body.message, /not this name$/);
  await forget("p");
  assert.match(
    (await server.send("POST", configMaps, { ...copy, metadata: { name: "copy", resourceVersion: "1" } })).body.message,
    /resourceVersion should not be set/,
  );
  assert.equal((await server.send("GET", `${configMaps}/copy`)).status, 404);
  const same = await server.send("PUT", `${configMaps}/many`, many.body);
  assert.equal(same.body.metadata.resourceVersion, many.body.metadata.resourceVersion);
});

test("parameters come from where the binding says, and warnings refuse nothing", async () => {
  await policy(
    "params",
    {
      paramKind: { apiVersion: "v1", kind: "ConfigMap" },
      matchConstraints: rules("secrets"),
      validations: [{ expression: "object.metadata.name == params.data.name" }],
    },
    {
      validationActions: ["Warn", "Audit"],
      paramRef: { name: "params", namespace: "default", parameterNotFoundAction: "Deny" },
    },
  );
  const secret = (name: string): Promise<Answered> =>
    server.send("POST", "/api/v1/namespaces/default/secrets", { apiVersion: "v1", kind: "Secret", metadata: { name } });
  const { status, body } = await secret("a");
  assert.equal(status, 422);
  assert.match(body.message, /failed to configure binding: no params found for policy binding with `Deny`/);
  assert.equal((await configMap("params", { name: "right" })).status, 201);
  const warned = await secret("wrong");
  assert.equal(warned.status, 201);
  assert.match(
    warned.headers.get("warning") ?? "",
    /Validation failed for ValidatingAdmissionPolicy 'params' with binding 'params': failed expression/,
  );
  assert.equal((await secret("right")).headers.get("warning"), null);
  await forget("params");
});

test("a failing policy that may be ignored is ignored; deletions and other versions match", async () => {
  await policy("ignore", { failurePolicy: "Ignore", validations: [{ expression: "object.nope == 1" }] });
  assert.equal((await configMap("ignored")).status, 201);
  await forget("ignore");
  await policy("keep", {
    matchConstraints: rules("configmaps", ["DELETE"]),
    validations: [{ expression: "oldObject.metadata.name != 'ignored'" }],
  });
  assert.equal((await server.send("DELETE", `${configMaps}/ignored`)).status, 422);
  await forget("keep");
  assert.equal((await server.send("DELETE", `${configMaps}/ignored`)).status, 200);
});

test("policies are compiled when they are created, and their status tells what types make of them", async () => {
  const { status, body } = await server.send("POST", `${group}/validatingadmissionpolicies`, {
    apiVersion,
    kind: "ValidatingAdmissionPolicy",
    metadata: { name: "bad" },
    spec: {
      matchConstraints: rules(),
      variables: [{ name: "ok", expression: "1" }],
      validations: [{ expression: "variables.ok == 'a'" }, { expression: "params.x == 1" }, { expression: "1" }],
      auditAnnotations: [{ key: "x", valueExpression: "1" }],
    },
  });
  assert.equal(status, 422);
  assert.deepEqual(
    body.details.causes.map(
      ({ field, message }: { field: string; message: string }) => `${field}: ${message.split("\n")[0]}`,
    ),
    [
      "spec.validations[0].expression: Invalid value: \"variables.ok == 'a'\": compilation failed: ERROR: <input>:1:14: found no matching overload for '_==_' applied to '(int, string)'",
      "spec.validations[1].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')",
      'spec.validations[2].expression: Invalid value: "1": must evaluate to bool but got int',
      'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int',
    ],
  );
  await policy("typed", {
    matchConstraints: rules("deployments"),
    validations: [{ expression: "object.spec.nope > 1" }],
  });
  const typed = await server.send("GET", `${group}/validatingadmissionpolicies/typed`);
  assert.deepEqual(typed.body.status, {
    observedGeneration: 1,
    typeChecking: {
      expressionWarnings: [
        {
          fieldRef: "spec.validations[0].expression",
          warning:
            "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope > 1\n | ...........^\n",
        },
      ],
    },
  });
  await forget("typed");
});

test("mutating policies change objects by configurations and by patches", async () => {
  const send = async (kind: string, spec: object): Promise<void> => {
    const resource =
      kind === "MutatingAdmissionPolicy" ? "mutatingadmissionpolicies" : "mutatingadmissionpolicybindings";
    const made = await server.send("POST", `${group}/${resource}`, { apiVersion, kind, metadata: { name: "m" }, spec });
    assert.equal(made.status, 201, made.text);
  };
  await send("MutatingAdmissionPolicy", {
    matchConstraints: rules(),
    reinvocationPolicy: "Never",
    mutations: [
      {
        patchType: "ApplyConfiguration",
        applyConfiguration: {
          expression: "Object{metadata: Object.metadata{labels: {'by': request.operation}}, data: {'added': 'yes'}}",
        },
      },
      {
        patchType: "JSONPatch",
        jsonPatch: {
          expression:
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: string(object.data.size())}]",
        },
      },
    ],
  });
  await send("MutatingAdmissionPolicyBinding", { policyName: "m" });
  const { status, body } = await configMap("mutated", { own: "1" });
  assert.equal(status, 201, body.message);
  assert.deepEqual(body.metadata.labels, { by: "CREATE", "a/b": "2" });
  assert.deepEqual(body.data, { own: "1", added: "yes" });
});
