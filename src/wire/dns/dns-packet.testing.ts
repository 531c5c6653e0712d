// The independent codec that ours is compared with (dns-packet, which ships no types).

// @ts-expect-error TS7016: it has no declarations.
import untyped from "dns-packet";

/** What the tests use of dns-packet. */
interface DnsPacket {
  encode(message: DnsPacketMessage): Uint8Array;
  decode(bytes: Uint8Array): DnsPacketMessage;
}

export interface DnsPacketMessage {
  readonly id: number;
  readonly type: "query" | "response";
  readonly flags: number;
  readonly rcode?: string;
  readonly questions?: readonly { readonly name: string; readonly type: string; readonly class?: string }[];
  readonly answers?: readonly DnsPacketRecord[];
  readonly authorities?: readonly DnsPacketRecord[];
  readonly additionals?: readonly DnsPacketRecord[];
}

export interface DnsPacketRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly class?: string;
  readonly data?: unknown;
  readonly udpPayloadSize?: number;
  readonly flags?: number;
}

export const dnsPacket: DnsPacket = untyped as DnsPacket;
