// Kinds that definitions make, on the command line: brought with their definition in one request, listed, refused by their rules, gone with it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { withLabs } from "./lab.testing.ts";

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget, shortNames: [gdg]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: "self.size < 10", message: too large, fieldPath: .size}]
            properties: {size: {type: integer}}
`;
const gadget = (size: number): string =>
  `apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\nspec:\n  size: ${size}\n`;

test("custom kinds come with their definition, and every answer can be read by programs", async () => {
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--packets", "off").status, 0);
    const both = lab.file("both.yaml", `${gadget(3)}---\n${definition}`);
    const applied = lab.fairlead("apply", "-f", both, "-n", "kube-system", "-o", "json");
    assert.equal(applied.status, 0, applied.stderr);
    assert.deepEqual(JSON.parse(applied.stdout), [
      {
        object: "customresourcedefinition.apiextensions.k8s.io/gadgets.example.com",
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        name: "gadgets.example.com",
        result: "created",
        warnings: [],
      },
      {
        object: "gadget.example.com/g",
        apiVersion: "example.com/v1",
        kind: "Gadget",
        namespace: "kube-system",
        name: "g",
        result: "created",
        warnings: [],
      },
    ]);
    for (const word of ["gadgets", "Gadget", "gdg", "gadgets.example.com"])
      assert.match(lab.fairlead("get", word, "-n", "kube-system").stdout, /^NAME +SIZE\ng +3\n$/, word);
    const [object] = [JSON.parse(lab.fairlead("get", "gadget/g", "-n", "kube-system", "-o", "json").stdout)] as [
      { spec: object },
    ];
    assert.deepEqual(object.spec, { size: 3 });

    // What upstream keeps of a Service that is a name, and does not show.
    const named = `apiVersion: v1\nkind: Service\nmetadata: {name: alias}\nspec: {type: ExternalName, externalName: example.com, internalTrafficPolicy: Local}\n`;
    assert.equal(lab.fairlead("apply", "-f", lab.file("named.yaml", named)).status, 0);
    const [alias] = [JSON.parse(lab.fairlead("get", "service/alias", "-o", "json").stdout)] as [{ spec: object }];
    assert.ok(!("internalTrafficPolicy" in alias.spec));

    const refused = lab.fairlead("apply", "-f", lab.file("large.yaml", gadget(11)), "-n", "kube-system");
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /large\.yaml:5: Gadget kube-system\/g: spec\.size: Invalid value: too large/);
    const unknown = lab.fairlead("apply", "-f", lab.file("other.yaml", gadget(1).replace("Gadget", "Gizmo")));
    assert.match(
      unknown.stderr,
      /other\.yaml:1: Gizmo g: kind: no matches for kind "Gizmo" in version "example.com\/v1"/,
    );

    const deleted = lab.fairlead("delete", "gadget", "g", "-n", "kube-system", "-o", "json");
    assert.deepEqual(JSON.parse(deleted.stdout), [
      {
        object: "gadget/g",
        apiVersion: "example.com/v1",
        kind: "Gadget",
        namespace: "kube-system",
        name: "g",
        result: "deleted",
      },
    ]);
    const added = JSON.parse(lab.fairlead("node", "add", "-o", "json").stdout) as { action: string; node: string };
    assert.deepEqual([added.action, added.node], ["add", "node-4"]);
    assert.equal(lab.fairlead("delete", "-f", both, "-n", "kube-system").status, 0);
    assert.match(lab.fairlead("get", "gadgets").stderr, /the server doesn't have a resource type "gadgets"/);
  });
});
