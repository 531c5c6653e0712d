// Asks for a whole zone by TCP and takes all messages of it.

import net from "node:net";

import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../kernel/sockets.ts";
import { buildMessage, emptyMessage, parseMessage, type DnsMessage } from "../../wire/dns/message.ts";
import { classIn, type DnsRecord, type RecordType } from "../../wire/dns/record.ts";

export interface ZoneQuestion {
  readonly port: number;
  readonly name: string;
  readonly type?: RecordType;
  /** IXFR: what the client has. */
  readonly serial?: number;
  readonly edns?: boolean;
}

/** The messages up to the second SOA record, to the first where that is all, or to what is no answer. Rejects where the connection ends early. */
export async function askForZone(namespace: NetworkNamespace, question: ZoneQuestion): Promise<DnsMessage[]> {
  const { port, name, type = "AXFR", serial, edns = false } = question;
  const have: DnsRecord[] =
    serial === undefined
      ? []
      : [
          {
            name,
            class: classIn,
            ttl: 0,
            data: { kind: "SOA", primary: ".", mailbox: ".", serial, refresh: 0, retry: 0, expire: 0, minimum: 0 },
          },
        ];
  const query = buildMessage({
    ...emptyMessage,
    id: 4711,
    questions: [{ name, type, class: classIn }],
    authority: have,
    ...(edns && { edns: { udpBytes: 1232, version: 0, dnssecOk: false, options: [] } }),
  });
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  const messages: DnsMessage[] = [];
  let received = Buffer.alloc(0);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.setTimeout(10_000, () => reject(new Error("no answer")));
      socket.on("error", reject);
      socket.on("close", () => reject(new Error("the connection ended")));
      socket.on("data", (data: Buffer) => {
        received = Buffer.concat([received, data]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          const end = 2 + received.readUInt16BE(0);
          messages.push(parseMessage(received.subarray(2, end)));
          received = received.subarray(end);
        }
        const records = messages.flatMap(({ answers }) => answers);
        const ends = records.filter(({ data: each }) => each.kind === "SOA").length;
        if (ends > 1 || (type === "IXFR" && records.length === 1) || messages.some(({ rcode }) => rcode !== 0))
          resolve();
      });
      socket.connect({ host: "127.0.0.1", port }, () => {
        const framed = Buffer.alloc(query.length + 2);
        framed.writeUInt16BE(query.length);
        framed.set(query, 2);
        socket.write(framed);
      });
    });
  } finally {
    socket.removeAllListeners("close");
    socket.destroy();
  }
  return messages;
}
