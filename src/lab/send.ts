// What a streaming answer of the control socket is written with.

/** Sends one value as a line of JSON. */
export type Send = (value: unknown) => void;
