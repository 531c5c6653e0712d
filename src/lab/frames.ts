// Frames of a two-way stream (exec, attach): one byte channel, four bytes length, payload.
// Channels are those of Kubernetes' exec: 0 stdin (empty: end of input), 1 stdout, 2 stderr, 3 result (JSON, last), 4 terminal size (JSON).

export const channel = { stdin: 0, stdout: 1, stderr: 2, result: 3, resize: 4 } as const;

/** One frame's bytes. */
export function frame(channelNumber: number, payload: Uint8Array | string): Buffer {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  const header = Buffer.alloc(5);
  header.writeUInt8(channelNumber, 0);
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

/** Collects chunks and calls back for every whole frame. Throws RangeError on a frame above 16 MiB: that is no frame of ours. */
export function createFrameReader(onFrame: (channelNumber: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= 5) {
      const length = rest.readUInt32BE(1);
      if (length > 16 * 1024 * 1024) throw new RangeError(`a frame of ${length} bytes: the stream is out of step`);
      if (rest.length < 5 + length) return;
      const payload = rest.subarray(5, 5 + length);
      const number = rest.readUInt8(0);
      rest = rest.subarray(5 + length);
      onFrame(number, payload);
    }
  };
}
