// Exchanges about custom resources: their definitions, and objects of kinds that these define.

import type { Exchange } from "./exchange.testing.ts";
import { apply, del, get, jsonPatch, merge, post, put, quiet, strategic, table } from "./exchange-words.testing.ts";

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const group = "{ns}.example";
const widgets = `/apis/${group}/v1/namespaces/{ns}/widgets`;
const old = `/apis/${group}/v1alpha1/namespaces/{ns}/widgets`;

const schema = {
  type: "object",
  required: ["spec"],
  properties: {
    spec: {
      type: "object",
      required: ["size"],
      properties: {
        size: { type: "integer", minimum: 1, maximum: 10 },
        color: { type: "string", enum: ["red", "green"], default: "red" },
        name: { type: "string", pattern: "^[a-z]+$", maxLength: 5, minLength: 2 },
        replicas: { type: "integer", default: 1 },
        port: { "x-kubernetes-int-or-string": true },
        when: { type: "string", format: "date-time" },
        address: { type: "string", format: "ipv4" },
        maybe: { type: "string", nullable: true },
        free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
        labels: { type: "object", additionalProperties: { type: "string" } },
        tags: { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "set", maxItems: 4 },
        atoms: { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "atomic" },
        parts: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["id"],
          items: {
            type: "object",
            required: ["id"],
            properties: { id: { type: "string" }, count: { type: "integer", default: 3 }, note: { type: "string" } },
          },
        },
        inner: {
          type: "object",
          "x-kubernetes-embedded-resource": true,
          properties: { spec: { type: "object", properties: { a: { type: "string" } } } },
        },
        min: { type: "integer" },
        max: { type: "integer" },
        fixed: { type: "string", "x-kubernetes-validations": [{ rule: "self == oldSelf", message: "it stays" }] },
      },
      "x-kubernetes-validations": [
        {
          rule: "!has(self.min) || !has(self.max) || self.min <= self.max",
          message: "min is above max",
          fieldPath: ".min",
        },
        { rule: "self.size != 7", message: "not seven", reason: "FieldValueForbidden" },
      ],
    },
    status: {
      type: "object",
      properties: { ready: { type: "integer" }, phase: { type: "string" }, selector: { type: "string" } },
    },
  },
};

const version = (name: string, more: object = {}): object => ({
  name,
  served: true,
  storage: name === "v1",
  schema: { openAPIV3Schema: schema },
  subresources: {
    status: {},
    scale: {
      specReplicasPath: ".spec.replicas",
      statusReplicasPath: ".status.ready",
      labelSelectorPath: ".status.selector",
    },
  },
  additionalPrinterColumns: [
    { name: "Size", type: "integer", jsonPath: ".spec.size" },
    { name: "Color", type: "string", jsonPath: ".spec.color", priority: 1 },
    { name: "Tags", type: "string", jsonPath: ".spec.tags[*]" },
    { name: "When", type: "date", jsonPath: ".spec.when" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  selectableFields: [{ jsonPath: ".spec.color" }],
  ...more,
});

const definition = (versions: readonly object[] = [version("v1")], more: object = {}): object => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `widgets.${group}` },
  spec: {
    group,
    scope: "Namespaced",
    names: { plural: "widgets", singular: "widget", kind: "Widget", shortNames: ["wd"], categories: ["all"] },
    versions,
    ...more,
  },
});

const widget = (name: string, spec: object = { size: 1 }, more: object = {}): object => ({
  apiVersion: `${group}/v1`,
  kind: "Widget",
  metadata: { name, ...more },
  spec,
});

/** A definition takes its time to be served. */
const servedMs = 1500;

export const customs: readonly Exchange[] = [
  [
    "custom: a definition's life",
    post(definitions, definition()),
    get(`${definitions}/widgets.${group}`, { afterMs: servedMs }),
    get(`/apis/${group}`),
    get(`/apis/${group}/v1`),
    get(`/apis/${group}/v2`, { see: "status" }),
    merge(`${definitions}/widgets.${group}`, { spec: { scope: "Cluster" } }),
    merge(`${definitions}/widgets.${group}`, { spec: { group: "other.example" } }),
    merge(`${definitions}/widgets.${group}`, { spec: { names: { shortNames: ["wx"] } } }),
    merge(`${definitions}/widgets.${group}`, { metadata: { labels: { a: "b" } } }),
    put(`${definitions}/widgets.${group}`, definition(), { see: "status" }),
    merge(`${definitions}/widgets.${group}`, { spec: { versions: [] } }),
    merge(
      `${definitions}/widgets.${group}/status`,
      { status: { conditions: [] }, spec: { scope: "Cluster" } },
      { see: "status" },
    ),
    get(definitions, { accept: table, see: "status" }),
    del(`${definitions}/widgets.${group}`),
    get(`/apis/${group}/v1`, { afterMs: servedMs, see: "status" }),
  ],
  [
    "custom: definitions that are refused",
    ...[
      definition([version("v1", { storage: false })]),
      definition([version("v1"), version("v2", { storage: true })]),
      definition([version("1")]),
      definition([version("v1", { schema: undefined })]),
      definition([version("v1", { schema: { openAPIV3Schema: {} } })]),
      definition([version("v1", { schema: { openAPIV3Schema: { type: "object", properties: { a: {} } } } })]),
      definition([
        version("v1", {
          schema: { openAPIV3Schema: { type: "object", properties: { a: { type: "string", default: 1 } } } },
        }),
      ]),
      definition([
        version("v1", {
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: { metadata: { type: "object", properties: { labels: { type: "object" } } } },
            },
          },
        }),
      ]),
      definition([
        version("v1", { schema: { openAPIV3Schema: { type: "object", properties: { a: { type: "array" } } } } }),
      ]),
      definition([
        version("v1", {
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-validations": [{ rule: "self.nothing > 1" }] } },
        }),
      ]),
      definition([
        version("v1", {
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: {
                a: {
                  type: "array",
                  items: { type: "object", properties: { id: { type: "string" } } },
                  "x-kubernetes-list-type": "map",
                  "x-kubernetes-list-map-keys": ["id"],
                },
              },
            },
          },
        }),
      ]),
      definition([version("v1", { schema: { openAPIV3Schema: { type: "object", anyOf: [{ type: "object" }] } } })]),
      definition([
        version("v1", {
          subresources: { scale: { specReplicasPath: "spec.replicas", statusReplicasPath: ".spec.x" } },
        }),
      ]),
      definition([version("v1", { additionalPrinterColumns: [{ name: "", type: "words", jsonPath: "x" }] })]),
      definition([version("v1", { selectableFields: [{ jsonPath: ".spec.parts" }] })]),
      definition(undefined, { scope: "Everywhere" }),
      definition(undefined, { preserveUnknownFields: true }),
      definition(undefined, { group: "example" }),
      definition(undefined, { names: { plural: "gadgets", kind: "Widget" } }),
      definition(undefined, { names: { plural: "widgets", kind: "wid get", listKind: "Widget" } }),
      definition([]),
    ].map((each) => post(definitions, each)),
  ],
  [
    "custom: objects",
    quiet(post(definitions, definition([version("v1"), version("v1alpha1", { deprecated: true })]))),
    post(widgets, widget("a"), { afterMs: servedMs }),
    post(
      widgets,
      widget("b", {
        size: 2,
        extra: 1,
        free: { any: { thing: [1] } },
        inner: { apiVersion: "v1", kind: "X", metadata: { name: "x", foo: 1 }, spec: { a: "1", b: 2 } },
        parts: [{ id: "x" }, { id: "y", count: 1 }],
        maybe: null,
        color: null,
      }),
    ),
    post(`${widgets}?fieldValidation=Strict`, widget("c", { size: 2, extra: 1 })),
    post(`${widgets}?fieldValidation=Warn`, widget("c", { size: 2, extra: 1 })),
    ...[
      {},
      { size: "1" },
      { size: 0 },
      { size: 11 },
      { size: 1.5 },
      { size: 7 },
      { size: 1, color: "blue" },
      { size: 1, name: "ABC" },
      { size: 1, name: "abcdefg" },
      { size: 1, port: true },
      { size: 1, when: "yesterday" },
      { size: 1, address: "::1" },
      { size: 1, tags: ["a", "a"] },
      { size: 1, tags: ["a", "b", "c", "d", "e"] },
      { size: 1, parts: [{ id: "x" }, { id: "x" }] },
      { size: 1, parts: [{}] },
      { size: 1, min: 3, max: 2 },
      { size: 1, inner: { spec: {} } },
      { size: 1, labels: { a: 1 } },
      { size: 1, name: null },
    ].map((spec) => post(widgets, widget("d", spec))),
    post(widgets, { ...widget("e"), spec: undefined }),
    post(widgets, { ...widget("e"), status: { ready: 3, phase: "x" } }),
    post(widgets, { ...widget("f"), apiVersion: `${group}/v1alpha1` }),
    post(old, { ...widget("f"), apiVersion: `${group}/v1alpha1` }),
    get(`${old}/a`),
    get(widgets),
    get(widgets, { accept: table }),
    get(`${widgets}?fieldSelector=spec.color%3Dred`, { accept: table }),
    get(`${widgets}?fieldSelector=spec.size%3D1`),
    get(`${widgets}/missing`),
    put(`${widgets}/a`, widget("a", { size: 3 })),
    merge(`${widgets}/a`, { spec: { size: 3, fixed: "x" } }),
    merge(`${widgets}/a`, { spec: { fixed: "y" } }),
    merge(`${widgets}/a`, { spec: { color: null, parts: [{ id: "z" }] } }),
    merge(`${widgets}/a`, { spec: { size: 99 } }),
    merge(`${widgets}/a`, { status: { phase: "ignored" } }),
    merge(`${widgets}/a/status`, {
      status: { ready: 2, selector: "a=b" },
      spec: { size: 9 },
      metadata: { labels: { x: "y" } },
    }),
    merge(`${widgets}/a/status`, { status: { ready: "2" } }),
    get(`${widgets}/a/status`),
    get(`${widgets}/a/scale`),
    put(`${widgets}/a/scale`, {
      apiVersion: "autoscaling/v1",
      kind: "Scale",
      metadata: { name: "a" },
      spec: { replicas: 5 },
    }),
    merge(`${widgets}/a/scale`, { spec: { replicas: 6 } }),
    strategic(`${widgets}/a`, { spec: { size: 4 } }),
    jsonPatch(`${widgets}/a`, [{ op: "add", path: "/spec/tags", value: ["q"] }]),
    apply(
      `${widgets}/s?fieldManager=one`,
      widget("s", { size: 1, parts: [{ id: "x", note: "1" }], tags: ["t"], atoms: ["a"] }),
    ),
    apply(`${widgets}/s?fieldManager=two`, widget("s", { size: 1, parts: [{ id: "y", note: "2" }], tags: ["u"] })),
    apply(`${widgets}/s?fieldManager=two`, widget("s", { size: 2, parts: [{ id: "x", note: "2" }], atoms: ["b"] })),
    apply(`${widgets}/s?fieldManager=one`, widget("s", { size: 1 })),
    apply(`${widgets}/s/status?fieldManager=three`, { ...widget("s", { size: 1 }), status: { ready: 1 } }),
    get(`${widgets}/s`),
    get(`${widgets}?watch=1&resourceVersion={rv}`, {
      during: [quiet(merge(`${widgets}/s`, { spec: { size: 5 } })), quiet(del(`${widgets}/s`))],
    }),
    del(`${widgets}/a`),
    del(`${widgets}?labelSelector=x`),
    del(widgets),
    quiet(del(`${definitions}/widgets.${group}`)),
  ],
];
