// Where Fairlead's API server answers otherwise than the real one and why: by step, as compare.testing.ts calls it.

export const differences: { readonly [step: string]: string } = {
  "services: a health check port out of range":
    "the real one answers 500 with an internal error; it is the client's mistake, and 422 says which field",
};
