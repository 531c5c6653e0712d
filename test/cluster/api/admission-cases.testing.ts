// What extends an API server: admission webhooks and policies, definitions of kinds, and the kinds of definitions that are here from the start.

import { casesOf, status, type Case } from "./case.testing.ts";

const rules = [{ apiGroups: ["zz"], apiVersions: ["v1"], operations: ["CREATE"], resources: ["x"] }];
const hook = (fields: object): object => ({
  webhooks: [
    {
      name: "a.b.c",
      clientConfig: { service: { name: "x", namespace: "y" } },
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      rules,
      ...fields,
    },
  ],
});
const policy = (spec: object): object => ({
  spec: { matchConstraints: { resourceRules: rules }, validations: [{ expression: "true" }], ...spec },
});

const validating = casesOf("admissionregistration.k8s.io/v1/validatingwebhookconfigurations", [
  ["plain", hook({}), { webhooks: [] }],
  ["without anything", {}],
  ["names", hook({ name: "a" })],
  ["names that are none", hook({ name: "A_b.c.d" })],
  ["no client", hook({ clientConfig: {} })],
  ["both clients", hook({ clientConfig: { url: "https://x", service: { name: "x", namespace: "y" } } })],
  ["addresses", hook({ clientConfig: { url: "http://x?a=b#c" } })],
  ["services", hook({ clientConfig: { service: { name: "", namespace: "", path: "x", port: 99999 } } })],
  ["side effects", hook({ sideEffects: "Some" })],
  ["no side effects", hook({ sideEffects: undefined })],
  ["versions", hook({ admissionReviewVersions: ["v9"] })],
  ["no versions", hook({ admissionReviewVersions: [] })],
  ["versions that are none", hook({ admissionReviewVersions: ["v1", "v1", "A_b"] })],
  ["operations", hook({ rules: [{ ...rules[0], operations: ["FOO"] }] })],
  ["all operations and one", hook({ rules: [{ ...rules[0], operations: ["*", "CREATE"] }] })],
  ["empty rules", hook({ rules: [{}] })],
  ["resources", hook({ rules: [{ ...rules[0], resources: ["*", "a", "a/b", "*/b", "a/*", ""] }] })],
  ["groups", hook({ rules: [{ ...rules[0], apiGroups: ["*", "a"], apiVersions: ["*", "v1"] }] })],
  ["policies", hook({ failurePolicy: "Foo", matchPolicy: "Foo" })],
  ["scopes", hook({ rules: [{ ...rules[0], scope: "Foo" }] })],
  ["times", hook({ timeoutSeconds: 31 })],
  ["no time", hook({ timeoutSeconds: 0 })],
  ["selectors", hook({ namespaceSelector: { matchLabels: { "a b": "c" } } })],
  [
    "conditions",
    hook({
      matchConditions: [
        { name: "x", expression: "true" },
        { name: "x", expression: "1" },
        { name: "A b", expression: "" },
      ],
    }),
  ],
  [
    "twice",
    { webhooks: [...(hook({}) as { webhooks: object[] }).webhooks, ...(hook({}) as { webhooks: object[] }).webhooks] },
  ],
]);

const mutating = casesOf("admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", [
  ["plain", hook({})],
  ["again", hook({ reinvocationPolicy: "Foo" })],
  [
    "names",
    hook({ name: "a", clientConfig: { url: "http://x" }, sideEffects: "Some", admissionReviewVersions: ["v9"] }),
  ],
]);

const policies = casesOf("admissionregistration.k8s.io/v1/validatingadmissionpolicies", [
  [
    "plain",
    policy({}),
    { spec: { validations: [{ expression: "false", message: "no" }] } },
    status({ observedGeneration: 1 }),
  ],
  ["without anything", {}],
  ["expressions that are none", policy({ validations: [{ expression: "object.x +" }] })],
  ["expressions of other types", policy({ validations: [{ expression: "1" }] })],
  ["no expressions", policy({ validations: [{ expression: "" }] })],
  ["policies", policy({ failurePolicy: "Foo" })],
  ["constraints", policy({ matchConstraints: undefined })],
  ["constraints without rules", policy({ matchConstraints: {} })],
  ["parameters", policy({ paramKind: { apiVersion: "v1", kind: "ConfigMap" } })],
  ["parameters that are none", policy({ paramKind: { apiVersion: "a/b/c", kind: "" } })],
  [
    "variables",
    policy({ variables: [{ name: "x", expression: "1" }], validations: [{ expression: "variables.x == 1" }] }),
  ],
  ["variables that are none", policy({ variables: [{ name: "1x", expression: "1 +" }] })],
  ["annotations", policy({ auditAnnotations: [{ key: "a b", valueExpression: "1" }] })],
  ["reasons", policy({ validations: [{ expression: "true", reason: "Foo" }] })],
  ["messages", policy({ validations: [{ expression: "true", message: " ", messageExpression: "1" }] })],
]);

const bindings = casesOf("admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", [
  ["plain", { spec: { policyName: "x", validationActions: ["Deny"] } }],
  ["without anything", {}],
  ["actions", { spec: { policyName: "x", validationActions: ["Deny", "Warn"] } }],
  ["actions that are none", { spec: { policyName: "x", validationActions: ["Foo", "Audit", "Audit"] } }],
  ["parameters", { spec: { policyName: "A_b", validationActions: ["Deny"], paramRef: {} } }],
]);

const names = { plural: "gadgets", singular: "gadget", kind: "Gadget", listKind: "GadgetList" };
const schema = {
  openAPIV3Schema: {
    type: "object",
    properties: { spec: { type: "object", properties: { size: { type: "integer" } } } },
  },
};
const version = { name: "v1", served: true, storage: true, schema };
const definition = (spec: object): object => ({
  metadata: { name: "gadgets.compared.example" },
  spec: { group: "compared.example", scope: "Namespaced", names, versions: [version], ...spec },
});
const definitions = casesOf("apiextensions.k8s.io/v1/customresourcedefinitions", [
  ["without anything", { metadata: { name: "gadgets.compared.example" } }],
  ["a name that is none", { ...definition({}), metadata: { name: "x.compared.example" } }],
  ["a scope that is none", definition({ scope: "Foo" })],
  ["no versions", definition({ versions: [] })],
  ["none stored", definition({ versions: [{ ...version, storage: false }] })],
  ["two stored", definition({ versions: [version, { ...version, name: "v2" }] })],
  ["a version twice", definition({ versions: [version, { ...version, storage: false }] })],
  ["a version's name that is none", definition({ versions: [{ ...version, name: "A_b" }] })],
  ["no schema", definition({ versions: [{ name: "v1", served: true, storage: true }] })],
  [
    "a schema that is no object",
    definition({ versions: [{ ...version, schema: { openAPIV3Schema: { type: "string" } } }] }),
  ],
  [
    "a schema without types",
    definition({ versions: [{ ...version, schema: { openAPIV3Schema: { type: "object", properties: { a: {} } } } }] }),
  ],
  [
    "a schema with references",
    definition({
      versions: [{ ...version, schema: { openAPIV3Schema: { type: "object", properties: { a: { $ref: "#/x" } } } } }],
    }),
  ],
  ["names that are none", definition({ names: { plural: "gadgets", kind: "", listKind: "", singular: "A_b" } })],
  ["a group that is none", definition({ group: "A_b" })],
  [
    "columns",
    definition({ versions: [{ ...version, additionalPrinterColumns: [{ name: "", type: "x", jsonPath: "y" }] }] }),
  ],
  [
    "a scale that is none",
    definition({
      versions: [{ ...version, subresources: { scale: { specReplicasPath: "x", statusReplicasPath: "" } } }],
    }),
  ],
  ["a conversion that is none", definition({ conversion: { strategy: "Foo" } })],
  ["a conversion without webhook", definition({ conversion: { strategy: "Webhook" } })],
]);

const reviews = [
  ...casesOf("authorization.k8s.io/v1/subjectaccessreviews", [
    ["plain", { spec: { user: "x", resourceAttributes: { verb: "get", resource: "pods" } } }],
    ["without anything", { spec: {} }],
    [
      "both",
      {
        spec: {
          user: "x",
          resourceAttributes: { verb: "get", resource: "pods" },
          nonResourceAttributes: { path: "/x", verb: "get" },
        },
      },
    ],
    ["without a user", { spec: { resourceAttributes: { verb: "get", resource: "pods" } } }],
    [
      "a name",
      { metadata: { name: "x", labels: { a: "b" } }, spec: { user: "x", resourceAttributes: { verb: "get" } } },
    ],
    [
      "selectors",
      {
        spec: {
          user: "x",
          resourceAttributes: {
            verb: "list",
            resource: "pods",
            labelSelector: { rawSelector: "a=b", requirements: [{ key: "a", operator: "In", values: ["b"] }] },
          },
        },
      },
    ],
  ]),
  ...casesOf("authorization.k8s.io/v1/selfsubjectaccessreviews", [
    ["plain", { spec: { resourceAttributes: { verb: "get", resource: "pods" } } }],
    ["paths", { spec: { nonResourceAttributes: { path: "/x", verb: "get" } } }],
    ["without anything", { spec: {} }],
  ]),
  ...casesOf("authorization.k8s.io/v1/localsubjectaccessreviews", [
    ["plain", { spec: { user: "x", resourceAttributes: { verb: "get", resource: "pods", namespace: "compared" } } }],
    [
      "of another namespace",
      { spec: { user: "x", resourceAttributes: { verb: "get", resource: "pods", namespace: "other" } } },
    ],
    ["paths", { spec: { user: "x", nonResourceAttributes: { path: "/x", verb: "get" } } }],
  ]),
  ...casesOf("authorization.k8s.io/v1/selfsubjectrulesreviews", [["without a namespace", { spec: {} }]]),
  ...casesOf("authentication.k8s.io/v1/tokenreviews", [
    ["a token that is none", { spec: { token: "x" } }],
    ["no token", { spec: {} }],
  ]),
];

export const cases: readonly Case[] = [
  ...validating,
  ...mutating,
  ...policies,
  ...bindings,
  ...definitions,
  ...reviews,
];
