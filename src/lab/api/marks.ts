// What is known of an object before it is written, so that the write path need not find it out again.

import type { KubeObject } from "../../kube/object.ts";
import type { ResourceName } from "./store.ts";

/** Notes that an object's structure has been checked and that its defaults are there, so that neither is done twice. */
export function markSound(object: KubeObject): KubeObject {
  sound.add(object);
  return object;
}

/** Notes that an object is stored as it is: a part of the program, valid and with its defaults, as a test of its maker says. */
export function markComplete(object: KubeObject, resource: ResourceName): KubeObject {
  complete.set(object, resource);
  return object;
}

/** Was it told to `markSound`? */
export function isSound(object: KubeObject): boolean {
  return sound.has(object);
}

/** What `markComplete` was told of it: where it is stored. */
export function completeAs(object: KubeObject): ResourceName | undefined {
  return complete.get(object);
}

const sound = new WeakSet<KubeObject>();
const complete = new WeakMap<KubeObject, ResourceName>();
