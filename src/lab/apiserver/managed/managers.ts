import type { KubeObject } from "../../../kube/object.ts";
import type { Kind } from "../../api/kinds.ts";
export interface Manager {
  readonly name: string;
  readonly kind: Kind;
  readonly subresource: string;
  readonly nowMs: number;
}
export function managedAfterCreate(_object: KubeObject, _manager: Manager): readonly unknown[] {
  return [];
}
export function managedAfterUpdate(_object: KubeObject, previous: KubeObject, _manager: Manager): readonly unknown[] {
  return previous.metadata.managedFields ?? [];
}
