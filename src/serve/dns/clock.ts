// Time as a parameter.

/** Milliseconds that only go forward, from any start. */
export interface Clock {
  now(): number;
}
