// The few globals that the pure folders may use although they are no part of ECMAScript itself.
// Everything else a runtime offers (files, sockets, clocks, timers) is missing there on purpose.
declare class TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array): string;
}
