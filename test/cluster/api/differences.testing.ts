// Where Fairlead's API server answers otherwise than the real one and why: by step, as compare.testing.ts calls it.

export const differences: { readonly [step: string]: string } = {
  "pods: hooks that stop": "the gate ContainerStopSignals is off in 1.36, so the field is dropped; here it works",
  "pods: annotations of AppArmor":
    "the real one warns of an annotation before it refuses another one; here what is refused is not warned of",
  "pods: a resize, resize changed (2)":
    "beside the amount that is negative, the real one says that the class of service would change",
  "services: a health check port out of range":
    "the real one answers 500 with an internal error; it is the client's mistake, and 422 says which field",
};
