// "This descriptor can be read": a callback from the event loop, as cheap as it can be, for sockets that wake their process for every datagram.
//
// In the main thread it is libuv's own poll handle, in memory of ours, by FFI: koffi's makes an object with three properties for each call,
// half of what waking up costs a server. Other threads have koffi's: libuv's default loop is the main thread's.
// The callback does not come from one of Node's own: promises that it settles wait for the next event of another kind.

import { isMainThread } from "node:worker_threads";

import koffi from "koffi";

import { addressOf, check, libc, type CFunction } from "./ffi.ts";

/** Calls back as long as the descriptor has something to read. Close this before the descriptor. Throws KernelError. */
export function whenReadable(fd: number, callback: () => void): { close(): void } {
  return isMainThread ? pollByLibuv(fd, callback) : koffi.node.poll(fd, { readable: true }, callback);
}

interface Handle {
  /** Its `uv_poll_t`, which libuv has until it says that it is closed. */
  readonly memory: Uint8Array;
  callback: () => void;
}

/** By address. */
const handles = new Map<number, Handle>();

function pollByLibuv(fd: number, callback: () => void): { close(): void } {
  const { handleSize, defaultLoop, init, start, stop, close, polled, closed } = (libuv ??= declareLibuv());
  const memory = new Uint8Array(new ArrayBuffer(handleSize(UV_POLL)));
  const handle: Handle = { memory, callback };
  const address = Number(addressOf(memory));
  check(`watch descriptor ${fd}`, init(defaultLoop(), address, fd));
  handles.set(address, handle);
  const end = (): void => {
    handle.callback = nothing;
    stop(address);
    close(address, closed);
  };
  const result = start(address, UV_READABLE, polled);
  if (result < 0) end();
  check(`watch descriptor ${fd}`, result);
  let isOpen = true;
  return {
    close() {
      if (isOpen) end();
      isOpen = false;
    },
  };
}

function nothing(): void {}

interface Libuv {
  readonly handleSize: CFunction;
  readonly defaultLoop: CFunction;
  readonly init: CFunction;
  readonly start: CFunction;
  readonly stop: CFunction;
  readonly close: CFunction;
  /** Function pointers, for all handles. */
  readonly polled: bigint;
  readonly closed: bigint;
}

let libuv: Libuv | undefined;

// uv.h, of the libuv that Node has in itself and lets addons link against. Pointers are numbers: they have 47 bits.
//   typedef void (*uv_poll_cb)(uv_poll_t *handle, int status, int events);
//   typedef void (*uv_close_cb)(uv_handle_t *handle);
function declareLibuv(): Libuv {
  const onPoll = (address: number): void => {
    try {
      handles.get(address)?.callback();
    } catch (error) {
      // Nobody is there who could catch it: it is the process's.
      setImmediate(() => {
        throw error;
      });
    }
  };
  const onClose = (address: number): void => void handles.delete(address);
  const pollType = koffi.pointer(koffi.proto("void fairlead_uv_polled(int64_t handle, int status, int events)"));
  const closeType = koffi.pointer(koffi.proto("void fairlead_uv_closed(int64_t handle)"));
  return {
    handleSize: libc("size_t uv_handle_size(int type)"),
    defaultLoop: libc("int64_t uv_default_loop()"),
    init: libc("int uv_poll_init(int64_t loop, int64_t handle, int fd)"),
    start: libc("int uv_poll_start(int64_t handle, int events, void *callback)"),
    stop: libc("int uv_poll_stop(int64_t handle)"),
    close: libc("void uv_close(int64_t handle, void *callback)"),
    polled: koffi.register(onPoll, pollType),
    closed: koffi.register(onClose, closeType),
  };
}

const UV_POLL = 8;
const UV_READABLE = 1;
