// Definitions of custom resources for tests: namespaced, in group example.com, with one version v1.

import type { KubeObject } from "../../kube/object.ts";

/** `Thing` makes `things.example.com`; `version` is what its version says besides, such as its schema (anything, where absent). */
export function customDefinition(kind: string, version: object = {}): KubeObject & { readonly spec: object } {
  const plural = `${kind.toLowerCase()}s`;
  const schema = { openAPIV3Schema: { type: "object" } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.example.com` },
    spec: {
      group: "example.com",
      scope: "Namespaced",
      names: { plural, kind },
      versions: [{ name: "v1", served: true, storage: true, schema, ...version }],
    },
  };
}
