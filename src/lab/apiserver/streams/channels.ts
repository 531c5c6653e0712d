// The channel protocols of Kubernetes' WebSockets: every message begins with the number of the stream it belongs to.
// Upstream: k8s.io/apimachinery/pkg/util/httpstream/wsstream, remotecommand constants (v1 to v5), KEP-4006.

/** Streams of exec and attach by number; 255 closes one of them (v5 only). */
export const channelNumber = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export interface ChannelProtocol {
  /** The WebSocket subprotocol; the empty string where the client named none. */
  readonly name: string;
  /** base64: text messages that begin with a digit. */
  readonly encoding: "binary" | "base64";
  /** How the end is told: as a Status object, or as text when something went wrong. */
  readonly ending: "status" | "text";
}

/** The best protocol of those the client offers; undefined where it offers some and we know none. */
export function chooseProtocol(offered: readonly string[]): ChannelProtocol | undefined {
  if (offered.length === 0) return protocols.at(-1);
  return protocols.find(({ name }) => name !== "" && offered.includes(name));
}

const protocols: readonly ChannelProtocol[] = [
  { name: "v5.channel.k8s.io", encoding: "binary", ending: "status" },
  { name: "v4.channel.k8s.io", encoding: "binary", ending: "status" },
  { name: "v4.base64.channel.k8s.io", encoding: "base64", ending: "status" },
  { name: "channel.k8s.io", encoding: "binary", ending: "text" },
  { name: "base64.channel.k8s.io", encoding: "base64", ending: "text" },
  { name: "", encoding: "binary", ending: "text" },
];

export interface ChannelMessage {
  readonly channel: number;
  readonly bytes: Uint8Array;
}

/** A message as it is sent: bytes, or text where the protocol is base64. */
export function formatMessage(protocol: ChannelProtocol, { channel, bytes }: ChannelMessage): Uint8Array | string {
  switch (protocol.encoding) {
    case "binary":
      return Buffer.concat([Uint8Array.of(channel), bytes]);
    case "base64":
      return String.fromCharCode(zero + channel) + Buffer.from(bytes).toString("base64");
  }
}

/** What a message says; undefined for an empty one. */
export function parseMessage(protocol: ChannelProtocol, message: Uint8Array): ChannelMessage | undefined {
  const [first] = message;
  if (first === undefined) return undefined;
  const rest = message.subarray(1);
  switch (protocol.encoding) {
    case "binary":
      return { channel: first, bytes: rest };
    case "base64":
      return { channel: first - zero, bytes: Buffer.from(Buffer.from(rest).toString("latin1"), "base64") };
  }
}

const zero = 0x30;

/**
 * Reads terminal sizes (`{"Width":80,"Height":24}`, one after the other, cut anywhere) out of a resize stream and hands them on.
 * What is no size is passed over.
 */
export function createSizeReader(
  resized: (size: { readonly columns: number; readonly rows: number }) => void,
): (bytes: Uint8Array) => void {
  let text = "";
  return (bytes) => {
    text = (text + Buffer.from(bytes).toString("latin1")).slice(-sizeTextMax);
    for (let end = text.indexOf("}"); end >= 0; end = text.indexOf("}")) {
      const object = text.slice(0, end);
      text = text.slice(end + 1);
      const columns = numberIn(object, "Width");
      const rows = numberIn(object, "Height");
      if (columns !== undefined && rows !== undefined) resized({ columns, rows });
    }
  };
}

const sizeTextMax = 4096;

// TerminalSize has two 16-bit numbers.
function numberIn(object: string, name: string): number | undefined {
  const digits = new RegExp(`"${name}"\\s*:\\s*(\\d{1,5})`, "i").exec(object)?.[1];
  const number = Number(digits);
  return digits === undefined || number > 0xffff ? undefined : number;
}
