// The starter: a program of a few hundred bytes that a new process runs first, inside its namespaces, before the real program.
// It makes a list of system calls (mount /proc, drop capabilities, take a terminal …) and then executes what its arguments say.
// It needs no libc, no shell and no file of the container's root, so any root directory and any static binary can be started;
// it costs no extra process; and a call that fails is reported with its place in the list.
//
// argv of the starter: [starter, path, argv0, argv1, …]; the environment is handed on.
// Not here: how the process gets into its namespaces and which calls a container needs (process.ts).

import process from "node:process";

/** One system call of the list. A text argument is passed as a pointer to its bytes with a final zero. */
export interface StarterCall {
  readonly call: keyof (typeof numbers)["x64"];
  readonly values: readonly (number | bigint | string | Uint8Array | StarterStruct)[];
  /** What a failure means: the start fails, it is ignored, or the call is simply made again and again (a process that only waits). */
  readonly failure?: "stop" | "ignore" | "repeat";
}

/** Bytes with pointers to others in them. */
export interface StarterStruct {
  readonly bytes: Uint8Array;
  readonly pointers: readonly { readonly at: number; readonly to: Uint8Array }[];
}

/** The report a starter writes when a call fails: the failed entry of its list. 64 bytes, so one write to a pipe is atomic. */
export interface StarterReport {
  readonly id: number;
  /** Index into the calls; equal to their number for the final execve. The process's exit status is the errno. */
  readonly index: number;
}

/** Bytes of a starter's report. */
export const reportBytes = 64;

/**
 * A statically linked ELF executable that makes the calls and then executes its arguments.
 * `id` comes back in a report, which is written to the descriptor `reportFd`. Throws RangeError on other processors than x64 and arm64.
 */
export function assembleStarter(options: {
  readonly calls: readonly StarterCall[];
  readonly id: number;
  readonly reportFd: number;
  readonly architecture?: string;
}): Uint8Array<ArrayBuffer> {
  const architecture = options.architecture ?? process.arch;
  if (architecture !== "x64" && architecture !== "arm64")
    throw new RangeError(`start a container: processor ${architecture} is neither x64 nor arm64`);
  const code = machineCode[architecture];
  const tableOffset = headerBytes + code.length;
  const table = layOut(options.calls, numbers[architecture], tableOffset, options.id);
  const image = new Uint8Array(tableOffset + table.length);
  writeHeader(image, architecture);
  image.set(code, headerBytes);
  // The code's last 8 bytes hold the descriptor to report to.
  new DataView(image.buffer).setBigUint64(tableOffset - 8, BigInt(options.reportFd), true);
  image.set(table, tableOffset);
  return image;
}

/** The report in 64 bytes that a starter wrote. */
export function readReport(bytes: Uint8Array): StarterReport {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const last = view.getBigUint64(56, true);
  return { id: Number(last >> 32n), index: Number((last >> 8n) & 0xffffffn) };
}

const baseAddress = 0x400000n;
// elf.h: 64 bytes of Elf64_Ehdr and 56 of one Elf64_Phdr.
const headerBytes = 120;
const entryBytes = 64;
// The low byte of an entry's last word says what a failure means.
const failureCodes = { stop: 0, ignore: 1, repeat: 2 } as const;

// asm/unistd_64.h and asm-generic/unistd.h.
const numbers = {
  x64: {
    chdir: 80,
    ioctl: 16,
    mount: 165,
    ppoll: 271,
    prctl: 157,
    rt_sigaction: 13,
    setsid: 112,
    umount2: 166,
    unlinkat: 263,
  },
  arm64: {
    chdir: 49,
    ioctl: 29,
    mount: 40,
    ppoll: 73,
    prctl: 167,
    rt_sigaction: 134,
    setsid: 157,
    umount2: 39,
    unlinkat: 35,
  },
} as const;

// The loop, once for each processor; rbx and x19 hold the entry, the last 8 bytes the descriptor to report to.
//
//   next:  number = entry[0]; if number == -1 goto final
//          result = syscall(number, entry[1..6])
//          failure = low byte of entry[7]; if failure == 2 goto next
//          if result is an error and failure == 0 goto fail
//          entry += 64; goto next
//   final: result = execve(argv[1], &argv[2], envp)
//   fail:  write(reportFd, entry, 64); exit_group(-result)
const machineCode = {
  x64: Buffer.from(
    "4c8b24244c8d6c24084f8d74e508488d1d83000000" + // argc, argv, envp, entry = table
      "488b034883f8ff7435488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f05" + // next
      "0fb64b3883f90274d4483d01f0ffff720485c974184883c340ebc2" +
      "498b7d08498d75104c89f2b83b0000000f05" + // final
      "4989c7b801000000488b3d1c0000004889deba400000000f054489fff7dfb8e70000000f05" + // fail
      "660f1f4400000000000000000000",
    "hex",
  ),
  arm64: Buffer.from(
    "ec0340f9ed230091ae0d0c8bce21009113040010" + // argc, argv, envp, entry = table
      "680240f91f0500b1a0010054608640a9628e41a9649642a9010000d4" + // next
      "69e240393f0900f1e0feff541ffc3fb143000054090100b473020191f2ffff17" +
      "a00540f9a1410091e2030eaaa81b80d2010000d4" + // final
      "f40300cb00010058e10313aa020880d2080880d2010000d4e00314aac80b80d2010000d4" + // fail
      "0000000000000000",
    "hex",
  ),
} as const;

/** The entries, the closing one, and behind them the bytes that arguments point at. */
function layOut(
  calls: readonly StarterCall[],
  number: (typeof numbers)["x64" | "arm64"],
  offset: number,
  id: number,
): Uint8Array {
  const texts: Uint8Array[] = [];
  let next = (calls.length + 1) * entryBytes;
  const pointerTo = (value: string | Uint8Array): bigint => {
    const data = typeof value === "string" ? Buffer.from(`${value}\0`, "utf8") : value;
    const pointer = baseAddress + BigInt(offset + next);
    texts.push(data);
    next += data.length;
    return pointer;
  };
  const structAt = ({ bytes, pointers }: StarterStruct): bigint => {
    const filled = Uint8Array.from(bytes);
    const view = new DataView(filled.buffer);
    for (const { at, to } of pointers) view.setBigUint64(at, pointerTo(to), true);
    return pointerTo(filled);
  };
  const wordOf = (value: StarterCall["values"][number]): bigint => {
    if (typeof value === "number" || typeof value === "bigint") return BigInt(value);
    return typeof value === "object" && "pointers" in value ? structAt(value) : pointerTo(value);
  };
  const entries = new DataView(new ArrayBuffer((calls.length + 1) * entryBytes));
  const mark = (index: number, failure: number): void =>
    entries.setBigUint64(index * entryBytes + 56, (BigInt(id) << 32n) | (BigInt(index) << 8n) | BigInt(failure), true);
  for (const [index, { call, values, failure }] of calls.entries()) {
    entries.setBigInt64(index * entryBytes, BigInt(number[call]), true);
    for (const [place, value] of values.entries()) {
      entries.setBigUint64(index * entryBytes + 8 + place * 8, BigInt.asUintN(64, wordOf(value)), true);
    }
    mark(index, failureCodes[failure ?? "stop"]);
  }
  entries.setBigInt64(calls.length * entryBytes, -1n, true);
  mark(calls.length, failureCodes.stop);
  return Buffer.concat([new Uint8Array(entries.buffer), ...texts]);
}

// elf.h: Elf64_Ehdr and Elf64_Phdr, one segment that is read and executed.
function writeHeader(image: Uint8Array<ArrayBuffer>, architecture: "x64" | "arm64"): void {
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, architecture === "x64" ? 62 : 183, true); // EM_X86_64, EM_AARCH64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, baseAddress + BigInt(headerBytes), true); // entry
  view.setBigUint64(32, 64n, true); // program headers
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  view.setUint32(68, 5, true); // PF_R | PF_X
  view.setBigUint64(80, baseAddress, true);
  view.setBigUint64(88, baseAddress, true);
  view.setBigUint64(96, BigInt(image.length), true);
  view.setBigUint64(104, BigInt(image.length), true);
  view.setBigUint64(112, 0x10000n, true);
}
