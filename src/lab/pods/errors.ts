// What can be wrong with a pod's own description, as the kubelet names it in container states and Events.

/** An object that the container refers to is missing or says something impossible; it is tried again. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
