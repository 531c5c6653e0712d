// Header blocks of SPDY/3.1: names and values, compressed with one zlib stream per direction that lasts as long as the connection.
// SPDY Protocol draft 3.1, 2.6.10 (name/value header block) and 2.6.10.1 (compression).
//
// Ours are sent uncompressed inside that zlib stream (deflate's stored blocks), which every reader understands and which needs no state.

import { constants, createInflate } from "node:zlib";

/** Lower-case names; a name that occurs more than once has its values joined by NUL on the wire. */
export type SpdyHeaders = ReadonlyMap<string, string>;

/** A header block that cannot be read. The connection's compression state is lost with it. */
export class SpdyHeaderError extends Error {
  override readonly name = "SpdyHeaderError";
}

/** Reads the header blocks of one direction, in their order. One call at a time. */
export function createHeaderReader(): { read(block: Uint8Array): Promise<SpdyHeaders>; close(): void } {
  const inflate = createInflate({ dictionary, flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH });
  let failure: Error | undefined;
  inflate.on("error", (error) => (failure = error));
  return {
    async read(block) {
      const chunks: Buffer[] = [];
      const collect = (chunk: Buffer): void => void chunks.push(chunk);
      inflate.on("data", collect);
      await new Promise<void>((resolve, reject) => {
        const failed = (error: Error): void =>
          reject(new SpdyHeaderError(`inflate headers: ${error.message}`, { cause: error }));
        if (failure !== undefined) return failed(failure);
        inflate.once("error", failed);
        // The callback comes when everything of this block has been given out.
        inflate.write(block, () => {
          inflate.off("error", failed);
          resolve();
        });
      });
      inflate.off("data", collect);
      return parseHeaders(Buffer.concat(chunks));
    },
    close: () => void inflate.destroy(),
  };
}

/** Writes the header blocks of one direction. */
export function createHeaderWriter(): (headers: SpdyHeaders) => Uint8Array {
  let isFirst = true;
  return (headers) => {
    const parts: Uint8Array[] = isFirst ? [streamStart] : [];
    isFirst = false;
    const body = formatHeaders(headers);
    for (let offset = 0; offset < body.length; offset += storedMax)
      parts.push(stored(body.subarray(offset, offset + storedMax)));
    // RFC 1951 3.2.4 / zlib's Z_SYNC_FLUSH: an empty stored block makes the reader give out what it has.
    parts.push(stored(new Uint8Array()));
    return Buffer.concat(parts);
  };
}

/** A block without compression: a count, then name and value, each with its length in four bytes. Throws SpdyHeaderError. */
export function parseHeaders(bytes: Uint8Array): SpdyHeaders {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  const number = (): number => {
    if (offset + 4 > bytes.length) throw new SpdyHeaderError(`headers end after ${offset} bytes`);
    offset += 4;
    return view.getUint32(offset - 4);
  };
  const text = (): string => {
    const length = number();
    if (length > bytes.length - offset)
      throw new SpdyHeaderError(`a header of ${length} bytes in a block of ${bytes.length}`);
    offset += length;
    return Buffer.from(bytes.buffer, bytes.byteOffset + offset - length, length).toString("utf8");
  };
  const headers = new Map<string, string>();
  for (let left = number(); left > 0; left--) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

export function formatHeaders(headers: SpdyHeaders): Uint8Array {
  const parts: Buffer[] = [uint32(headers.size)];
  for (const pair of headers) {
    for (const text of pair) {
      const bytes = Buffer.from(text, "utf8");
      parts.push(uint32(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

// RFC 1951 3.2.4: no compression; BFINAL 0, BTYPE 00, then length, its complement and the bytes.
const storedMax = 0xffff;
function stored(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(bytes.length, 1);
  head.writeUInt16LE(~bytes.length & 0xffff, 3);
  return Buffer.concat([head, bytes]);
}

// SPDY draft 3.1, 2.6.10.1: the dictionary, as words with their lengths and a tail without.
const words =
  "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
    .split(" ")
    .map((word) => Buffer.from(word.replace("_", " ")));
const tail =
  "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
export const dictionary: Uint8Array = Buffer.concat([
  ...words.flatMap((word) => [uint32(word.length), word]),
  Buffer.from(tail),
]);

// RFC 1950 2.2: CMF 0x78 and FLG with FDICT set (0xbb makes the pair a multiple of 31), then the dictionary's Adler-32.
const streamStart = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
