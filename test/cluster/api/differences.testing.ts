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
    step: "certificatesigningrequests:",
    line: "credential-id",
    why: "who asks has a certificate of its own at each server",
  },
  {
    step: "certificatesigningrequests: attributes that are none",
    line: "status 422, the real one 201",
    why: "the real one passes over what it cannot read; here a request is read as a whole",
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
  { step: "list: pages (9)", line: "continue", why: "the real one does not know that the rest does not match" },
  {
    step: "list: pages (15)",
    line: "",
    why: "the real one gives all there is where any state will do; here a page is a page",
  },
  {
    step: "watch: a version that is gone",
    line: "status",
    why: "the real one waits for that version with an open watch; here the client is told to come again",
  },
  { step: "patch: by operations (7)", line: "", why: "the real one looks for the object before it reads the patch" },
  {
    step: "apply: one and another",
    line: "managedFields[two Apply v1 ]",
    why: "an empty map that is applied belongs to nobody here",
  },
  {
    step: "apply: wrong (22)",
    line: "",
    why: "the real one reads the first of several documents and drops the others",
  },
  {
    step: "apply: lists (7)",
    line: "Time",
    why: "times that nobody has said are null in the real one's answers, and absent here",
  },
  { step: "apply: lists (10)", line: "Time", why: "the same" },
  { step: "apply: lists (11)", line: "", why: "applying a scale asks nobody who else has set it" },
  {
    step: "write: creations that are refused (15)",
    line: "warning",
    why: "fields given twice are looked for where a client asks about its fields: it costs as much as reading the text once more",
  },
  {
    step: "write: creations that are refused (33)",
    line: "",
    why: "the name that is made is by chance",
  },
  {
    step: "write: updates that create (4)",
    line: "rules",
    why: "a list of no rules is null in the real one's answers, and absent here",
  },
  { step: "write: updates that create (4)", line: "fieldsType", why: "the same" },
  { step: "write: updates that create (6)", line: "limits", why: "the real one's encoding knows no empty lists" },
  {
    step: "write: updates that create (7)",
    line: "imestamp",
    why: "times that nobody has said are null in the real one's answers, and absent here",
  },
  { step: "write: updates that create (7)", line: "eventTime", why: "the same" },
  {
    step: "write: updates without a version (16)",
    line: "currentMetrics",
    why: "a list of nothing is null in the real one's answers, and absent here",
  },
  {
    step: "write: a namespace's life (11)",
    line: "",
    why: "the real one takes the whole of its metadata over when finalizers are taken away; here they alone change",
  },
  {
    step: "write: eviction and binding (6)",
    line: "lastProbeTime",
    why: "times that nobody has said are null in the real one's answers, and absent here",
  },
  {
    step: "shape: columns of",
    line: "rows",
    why: "a table without rows: the real one's list of them is null for some kinds",
  },
  { step: "shape: methods and paths (4)", line: "", why: "a version that a group has not: a plain text here" },
  {
    step: "shape: discovery (1)",
    line: "serverAddress",
    why: "addresses by which a client may reach the server: a lab's clients have one in their kubeconfig",
  },
  { step: "shape: discovery (19)", line: "storageVersionHash", why: "kept in another version" },
  { step: "shape: discovery (20)", line: "storageVersionHash", why: "kept in another version" },
  {
    step: "custom: a definition's life (1)",
    line: "",
    why: "names are taken and the kind is served in the same write, and what cleans up is there from the beginning",
  },
  { step: "custom: a definition's life (2)", line: "finalizers", why: "the same" },
  { step: "custom: a definition's life (2)", line: "managedFields", why: "what is filled in belongs to nobody here" },
  { step: "custom: a definition's life (4)", line: "verbs", why: "in the order of their letters here" },
  { step: "custom: a definition's life (7)", line: "metadata.name", why: "a name that fits no longer is told of, too" },
  { step: "custom: a definition's life (8)", line: "", why: "as in the second step" },
  { step: "custom: a definition's life (9)", line: "", why: "as in the second step" },
  {
    step: "custom: a definition's life (11)",
    line: "storedVersions",
    why: "the field that a missing version is told of",
  },
  { step: "custom: a definition's life (14)", line: "", why: "as in the second step" },
  {
    step: "custom: definitions that are refused (4)",
    line: "selectableFields",
    why: "what cannot be looked at without a schema is not told of",
  },
  {
    step: "custom: definitions that are refused (12)",
    line: "openAPIV3Schema",
    why: "the real one tells of the whole schema as well",
  },
  { step: "custom: objects (43)", line: ".status.ready", why: "the real one tells of a wrong type twice" },
];
