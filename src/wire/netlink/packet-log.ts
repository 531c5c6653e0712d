// NFLOG: packets that a `log group N` rule tells of (linux/netfilter/nfnetlink_log.h): asking for a group, reading what comes.

import { addressFromBytes, type Address } from "../../ip/address.ts";
import { buildBody, NetlinkFormatError, parseAttributes, readBe32, readString } from "./attributes.ts";
import type { NetlinkMessage, NetlinkRequest } from "./message.ts";

// linux/netfilter/nfnetlink.h: NFNL_SUBSYS_ULOG 4 in the upper byte; NFULNL_MSG_PACKET 0, NFULNL_MSG_CONFIG 1 in the lower.
export const packetLogMessage = { packet: 0x400, config: 0x401 } as const;

/** One logged packet: the rule's prefix, the packet's mark and its head. */
export interface LoggedPacket {
  readonly prefix: string;
  /** 0 where it has none. */
  readonly mark: number;
  /** Counts what the kernel sent to this reader, and wraps at 2^32: a gap was lost on the way. */
  readonly sequence: number | undefined;
  readonly packet: PacketHead;
}

/** Who sends what to whom. Ports are 0 for protocols without. */
export interface PacketHead {
  /** IANA's number. */
  readonly protocol: number;
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

// enum nfulnl_attr_config: NFULA_CFG_CMD 1, _MODE 2, _QTHRESH 5, _FLAGS 6 (NFULNL_CFG_F_SEQ 1). enum nfulnl_msg_config_cmds: BIND 1.
// struct nfulnl_msg_config_mode: be32 copy_range, u8 copy_mode (NFULNL_COPY_PACKET 2), u8 pad.
const config = { command: 1, mode: 2, queueThreshold: 5, flags: 6 } as const;
const flagSequence = 1;
const commandBind = 1;
const copyPacket = 2;

/** Become the reader of a group, of the first bytes of each packet, without waiting for more of them. A group has one reader. */
export function bindPacketLog(group: number, bytesMax: number): NetlinkRequest {
  const mode = new Uint8Array(6);
  new DataView(mode.buffer).setUint32(0, bytesMax);
  mode[4] = copyPacket;
  return {
    type: packetLogMessage.config,
    flags: 0,
    body: buildBody(header(group), (writer) =>
      writer
        .bytes(config.command, Uint8Array.of(commandBind))
        .bytes(config.mode, mode)
        .be32(config.queueThreshold, 1)
        .be16(config.flags, flagSequence),
    ),
  };
}

// struct nfgenmsg: u8 family, u8 version, be16 res_id: the group.
function header(group: number): Uint8Array {
  return Uint8Array.of(0, 0, group >> 8, group & 0xff);
}

// enum nfulnl_attr_type: NFULA_MARK 2, _PAYLOAD 9, _PREFIX 10, _SEQ 12.
const attribute = { mark: 2, payload: 9, prefix: 10, sequence: 12 } as const;

/** What a message tells; undefined for other messages and for packets that are neither IPv4 nor IPv6. Throws NetlinkFormatError. */
export function decodeLoggedPacket(message: NetlinkMessage): LoggedPacket | undefined {
  if (message.type !== packetLogMessage.packet) return undefined;
  if (message.body.length < 4) throw new NetlinkFormatError("a logged packet without its header");
  const attributes = parseAttributes(message.body, 4);
  const bytes = attributes.get(attribute.payload);
  const packet = bytes === undefined ? undefined : readPacketHead(bytes);
  const text = attributes.get(attribute.prefix);
  const mark = attributes.get(attribute.mark);
  const sequence = attributes.get(attribute.sequence);
  return (
    packet && {
      prefix: text === undefined ? "" : readString(text),
      mark: mark === undefined ? 0 : readBe32(mark),
      sequence: sequence === undefined ? undefined : readBe32(sequence),
      packet,
    }
  );
}

/** The head of an IP packet; undefined where the bytes are none. */
export function readPacketHead(bytes: Uint8Array): PacketHead | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4) {
    // RFC 791 3.1: header length in words, protocol at 9, addresses at 12 and 16.
    const headerBytes = ((bytes[0] ?? 0) & 0x0f) * 4;
    if (headerBytes < 20 || bytes.length < headerBytes) return undefined;
    return head(bytes, { protocol: bytes[9] ?? 0, source: 12, addressBytes: 4, transport: headerBytes });
  }
  // RFC 8200 3: next header at 6, addresses at 8 and 24. Extension headers are rare enough to be told as they are.
  if (version !== 6 || bytes.length < 40) return undefined;
  return head(bytes, { protocol: bytes[6] ?? 0, source: 8, addressBytes: 16, transport: 40 });
}

/** IANA's numbers of protocols whose first four bytes are two ports. */
const withPorts: ReadonlySet<number> = new Set([6, 17, 132]);

function head(
  bytes: Uint8Array,
  at: { readonly protocol: number; readonly source: number; readonly addressBytes: 4 | 16; readonly transport: number },
): PacketHead {
  const { protocol, source, addressBytes, transport } = at;
  const port = (offset: number): number =>
    withPorts.has(protocol) && bytes.length >= transport + 4
      ? ((bytes[transport + offset] ?? 0) << 8) | (bytes[transport + offset + 1] ?? 0)
      : 0;
  return {
    protocol,
    source: addressFromBytes(bytes.subarray(source, source + addressBytes)),
    destination: addressFromBytes(bytes.subarray(source + addressBytes, source + 2 * addressBytes)),
    sourcePort: port(0),
    destinationPort: port(2),
  };
}
