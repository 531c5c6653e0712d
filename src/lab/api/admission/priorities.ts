// Priority of pods by their PriorityClass (plugin/pkg/admission/priority).

import type { Pod } from "../../../kube/kinds.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { rememberedChange } from "../../../kube/repeated.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { forbidden } from "../errors.ts";

interface PriorityClass extends KubeObject {
  readonly value: number;
  readonly globalDefault?: boolean;
  readonly preemptionPolicy?: string;
}

const resource = { group: "scheduling.k8s.io", resource: "priorityclasses" };

/** Known without an object (pkg/apis/scheduling SystemPriorityClasses). */
const systemClasses: { readonly [name: string]: number } = {
  "system-cluster-critical": 2_000_000_000,
  "system-node-critical": 2_000_001_000,
};

/** Sets a new pod's priority. Throws StatusError 403. */
export const podPriority: Admission = ({ operation, object, kind, store }) => {
  if (operation !== "create" || kind.group !== "" || kind.resource !== "pods") return object;
  const pod = object as Pod & {
    readonly spec: {
      readonly priorityClassName?: string;
      readonly priority?: number;
      readonly preemptionPolicy?: string;
    };
  };
  const { priorityClassName = "", priority, preemptionPolicy } = pod.spec;
  const refuse = (why: string): never => {
    throw forbidden({ group: "", resource: "pods", name: object.metadata.name }, why);
  };
  const found = priorityClassName === "" ? defaultClass(store) : classNamed(store, priorityClassName);
  if (priorityClassName !== "" && found === undefined)
    refuse(`no PriorityClass with name ${priorityClassName} was found`);
  const { name = "", value = 0, preemption = "PreemptLowerPriority" } = found ?? {};
  if (priority !== undefined && priority !== value)
    refuse(
      `the integer value of priority (${priority}) must not be provided in pod spec; priority admission controller computed ${value} from the given PriorityClass name`,
    );
  if (preemptionPolicy !== undefined && preemptionPolicy !== preemption)
    refuse(
      `the string value of PreemptionPolicy (${preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${preemption} from the given PriorityClass name`,
    );
  const spec = rememberedChange(pod.spec, `priority ${name} ${value} ${preemption}`, () => ({
    ...pod.spec,
    ...(name === "" ? {} : { priorityClassName: name }),
    priority: value,
    preemptionPolicy: preemption,
  }));
  return { ...pod, spec };
};

interface Found {
  readonly name: string;
  readonly value: number;
  readonly preemption: string;
}

function foundIn({ metadata, value, preemptionPolicy }: PriorityClass): Found {
  return { name: metadata.name, value, preemption: preemptionPolicy ?? "PreemptLowerPriority" };
}

function classNamed(store: AdmissionRequest["store"], name: string): Found | undefined {
  const object = store.get({ ...resource, name }) as PriorityClass | undefined;
  if (object !== undefined) return foundIn(object);
  const value = Object.hasOwn(systemClasses, name) ? systemClasses[name] : undefined;
  return value === undefined ? undefined : { name, value, preemption: "PreemptLowerPriority" };
}

/** The least of those that want to be it. */
function defaultClass(store: AdmissionRequest["store"]): Found | undefined {
  const wanting = (store.list(resource).items as readonly PriorityClass[]).filter(
    (each) => each.globalDefault === true,
  );
  const [least] = [...wanting].sort((a, b) => a.value - b.value);
  return least === undefined ? undefined : foundIn(least);
}

/** There is one default at most. Throws StatusError 403. */
export const priorityClassValidation: Validation = ({ operation, object, kind, store }) => {
  if (operation === "delete" || kind.group !== resource.group || kind.resource !== resource.resource) return;
  const { globalDefault, metadata } = object as PriorityClass;
  if (globalDefault !== true) return;
  const other = (store.list(resource).items as readonly PriorityClass[]).find(
    (each) => each.globalDefault === true && each.metadata.name !== metadata.name,
  );
  if (other !== undefined)
    throw forbidden(
      { ...resource, name: metadata.name },
      `PriorityClass ${other.metadata.name} is already marked as default. Only one default can exist`,
    );
};
