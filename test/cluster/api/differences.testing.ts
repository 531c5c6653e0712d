// Where Fairlead's API server answers otherwise than the real one, and why.

export interface Known {
  /** How the steps begin that it is seen in. */
  readonly step: string;
  /** What is in the line that tells of it. */
  readonly line: string;
  readonly why: string;
}

export const known: readonly Known[] = [
  {
    step: "services: a health check port out of range",
    line: "status 422, the real one 500",
    why: "the real one answers with an internal error; it is the client's mistake, and 422 says which field",
  },
  {
    step: "pods: hooks that stop",
    line: "stopSignal",
    why: "the gate ContainerStopSignals is off in 1.36, so the field is dropped; here it works",
  },
  {
    step: "pods: annotations of AppArmor",
    line: "warning metadata.annotations[container.apparmor",
    why: "the real one warns of an annotation before it refuses another one; here what is refused is not warned of",
  },
  {
    step: "pods: a resize, resize changed (2)",
    line: "cause spec FieldValueInvalid",
    why: "beside the amount that is negative, the real one says that the class of service would change",
  },
  {
    step: "nodes:",
    line: "object spec.taints",
    why: "the real one taints new nodes until a controller says they are ready; here the node says so itself",
  },
  {
    step: "nodes: ranges that are none",
    line: "cause spec.podCIDRs",
    why: "the real one says of ranges that it cannot read that it cannot compare them, with an internal error",
  },
  {
    step: "persistentvolumeclaims:",
    line: "kubernetes.io/pvc-protection",
    why: "nothing mounts claims here, so nothing would take the finalizer away again",
  },
  {
    step: "persistentvolumes:",
    line: "kubernetes.io/pv-protection",
    why: "nothing mounts volumes here, so nothing would take the finalizer away again",
  },
  {
    step: "horizontalpodautoscalers: behaviour that is none",
    line: "spec.behavior.scaleDown.policies",
    why: "an empty list is as good as none here, and gets the default",
  },
  {
    step: "customresourcedefinitions: a conversion without webhook",
    line: "cause spec.conversion",
    why: "conversion by webhooks is refused as a whole",
  },
  {
    step: "subjectaccessreviews: selectors",
    line: "status 201, the real one 422",
    why: "selectors of what is asked about are not looked at: no authorizer here tells apart by them",
  },
  {
    step: "validatingadmissionpolicies:",
    line: "object status.observedGeneration",
    why: "the real one's controller has not looked at the policy yet; here that is done in the same write",
  },
  {
    step: "jobs: plain, status changed (11)",
    line: "status 200, the real one 422",
    why: "conditions of Jobs that contradict each other are not looked at",
  },
  {
    step: "jobs: a name that is too long",
    line: "cause metadata.labels",
    why: "the labels that a Job has from its pods are there before it is validated",
  },
];
