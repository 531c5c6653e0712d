// Whether a link joins the packets of a stream as they come in (generic receive offload), by ethtool's interface: rtnetlink has no word for it.

import { addressOf, check, libc } from "./ffi.ts";
import type { NetworkNamespace } from "./namespaces.ts";

/** Switches it. Throws KernelError: ENODEV without such a link, EPERM without rights in the namespace. */
export function setReceiveOffload(namespace: NetworkNamespace, link: string, state: "on" | "off"): void {
  // linux/ethtool.h: ETHTOOL_SGRO.
  ethtool(namespace, link, 0x2c, state === "on" ? 1 : 0);
}

/** How it is switched. Throws KernelError. */
export function receiveOffload(namespace: NetworkNamespace, link: string): "on" | "off" {
  // ETHTOOL_GGRO.
  return ethtool(namespace, link, 0x2b, 0) === 0 ? "off" : "on";
}

/** Sends struct ethtool_value, command and number; the number after it. */
function ethtool(namespace: NetworkNamespace, link: string, command: number, number: number): number {
  const doing = `${command === 0x2c ? "switch" : "read"} receive offload of ${link} in ${namespace.id}`;
  const value = new Uint32Array([command, number]);
  // linux/if.h: struct ifreq, 16 bytes of name and a union; ifr_data is a pointer.
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode(link).subarray(0, 15));
  new BigUint64Array(request.buffer, 16, 1)[0] = addressOf(value);
  // AF_INET, SOCK_DGRAM | SOCK_CLOEXEC; a socket belongs to the namespace it is opened in.
  const fd = check(
    doing,
    namespace.run(() => socket(2, 2 | 0x80000, 0)),
  );
  const SIOCETHTOOL = 0x8946;
  const result = ioctl(fd, SIOCETHTOOL, request);
  close(fd);
  check(doing, result);
  return value[1] ?? 0;
}

const socket = libc("int socket(int domain, int type, int protocol)");
const ioctl = libc("int ioctl(int fd, unsigned long request, void *argument)");
const close = libc("int close(int fd)");
