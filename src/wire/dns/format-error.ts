// What the DNS codec throws: the bytes are no DNS message, or a value cannot be one.

/** Bytes that are no (whole) DNS message, or text that is no DNS name. `offset` is where it showed, in bytes from the start. */
export class DnsFormatError extends Error {
  override readonly name = "DnsFormatError";
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}
