import assert from "node:assert/strict";
import { test } from "node:test";

import { schemaOf, typeNamed, typeNames, type ValueType } from "./schema.ts";

test("the facts of a list of objects", () => {
  const ports = typeNamed("core.v1.ServiceSpec").fields.get("ports");
  assert.deepEqual(
    {
      type: ports?.type,
      list: ports?.list,
      keys: ports?.listKeys,
      patch: ports?.patchStrategies,
      mergeKey: ports?.patchMergeKey,
    },
    {
      type: { kind: "list", of: { kind: "object", type: "core.v1.ServicePort" } },
      list: "map",
      keys: ["port", "protocol"],
      patch: ["merge"],
      mergeKey: "port",
    },
  );
});

test("defaults, enumerations, required fields, maps", () => {
  const port = typeNamed("core.v1.ServicePort");
  assert.equal(port.fields.get("protocol")?.default, "TCP");
  assert.deepEqual(port.fields.get("protocol")?.values, ["SCTP", "TCP", "UDP"]);
  assert.equal(port.fields.get("port")?.required, true);
  assert.deepEqual(port.fields.get("targetPort")?.type, { kind: "scalar", scalar: "int-or-string" });
  assert.deepEqual(typeNamed("core.v1.ServiceSpec").fields.get("selector")?.type, {
    kind: "map",
    of: { kind: "scalar", scalar: "string" },
  });
  assert.deepEqual(typeNamed("discovery.v1.EndpointSlice").fields.get("addressType")?.values, ["FQDN", "IPv4", "IPv6"]);
});

test("CRDs' constraints", () => {
  const spec = typeNamed(schemaOf("gateway.networking.k8s.io/v1", "HTTPRoute")?.name ?? "").fields.get("spec");
  assert.equal(spec?.required, true);
  const rules = typeNamed(spec?.type.kind === "object" ? spec.type.type : "").fields.get("rules");
  assert.equal(rules?.constraints.maxItems, 16);
});

test("every type that is named exists", () => {
  const names = new Set(typeNames());
  const missing = new Set<string>();
  const visit = (type: ValueType): void => {
    if (type.kind === "list" || type.kind === "map") visit(type.of);
    else if (type.kind === "object" && !names.has(type.type)) missing.add(type.type);
  };
  for (const name of names) for (const field of typeNamed(name).fields.values()) visit(field.type);
  assert.deepEqual([...missing], []);
  assert.ok(names.size > 700);
});
