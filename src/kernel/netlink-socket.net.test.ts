import assert from "node:assert/strict";
import { test } from "node:test";

import { getLink, getLinks, setLink } from "../wire/netlink/link.ts";
import { flag, type NetlinkRequest } from "../wire/netlink/message.ts";
import { decodeRule, getRules, routeTable } from "../wire/netlink/route.ts";
import { KernelError } from "./kernel.ts";
import { createNetworkNamespace } from "./namespaces.ts";
import { openNetlinkSocket, protocol, type NetlinkSocket, type NetlinkSocketOptions } from "./netlink-socket.ts";

function withSocket(work: (socket: NetlinkSocket) => void, options: NetlinkSocketOptions = {}): void {
  const namespace = createNetworkNamespace();
  const socket = openNetlinkSocket(namespace, protocol.route, options);
  try {
    work(socket);
  } finally {
    socket.close();
    namespace.close();
  }
}

const missing: NetlinkRequest = setLink({ name: "nothing" }, { up: true });
const present: NetlinkRequest = setLink({ name: "lo" }, { up: true });

void test("a request gives its answer, or an error with what was done and the kernel's words", () => {
  withSocket((socket) => {
    assert.equal(socket.request(getLink("lo"), "find lo").length, 1);
    assert.throws(
      () => socket.request({ type: 16, flags: flag.create, body: new Uint8Array(16) }, "create a link of no kind"),
      (error) =>
        error instanceof KernelError &&
        error.code === "EOPNOTSUPP" &&
        error.message === "create a link of no kind: EOPNOTSUPP: Unknown device type" &&
        error.kernelText === "Unknown device type",
    );
    assert.throws(
      () => socket.request(missing, "set nothing up"),
      /^KernelError: set nothing up: ENODEV: No such device$/,
    );
  });
});

void test("a pipeline gives each request its own result, also across several sendmsg calls", () => {
  // The smallest buffers the kernel gives: 4.5 KiB to send, 2.2 KiB to receive.
  for (const options of [{}, { sendBufferBytes: 1, receiveBufferBytes: 1 }]) {
    withSocket((socket) => {
      const results = socket.pipeline(
        Array.from({ length: 500 }, (_, index) => (index % 7 === 3 ? missing : present)),
        "set links up",
      );
      assert.equal(results.length, 500);
      results.forEach((result, index) => assert.equal(result?.code, index % 7 === 3 ? "ENODEV" : undefined));
    }, options);
  }
});

void test("a transaction is one sendmsg: too large is refused with what to do", () => {
  withSocket(
    (socket) => {
      const answer = socket.transaction([present, missing, { ...present, flags: flag.ack }], "set links up");
      assert.deepEqual([...answer.failures.keys()], [1]);
      assert.deepEqual([...answer.acknowledged], [2]);
      assert.throws(
        () =>
          socket.transaction(
            Array.from({ length: 500 }, () => present),
            "set many links up",
          ),
        (error) =>
          error instanceof KernelError && error.code === "EMSGSIZE" && /net\.core\.wmem_max/.test(error.message),
      );
      assert.equal(socket.request(getLink("lo"), "find lo").length, 1, "the socket is still good");
    },
    { sendBufferBytes: 1 },
  );
});

void test("a dump of many parts is whole, and a dump that is refused throws", () => {
  const list = (socket: NetlinkSocket): void => {
    const create = (name: string): NetlinkRequest => {
      const { body } = setLink({ name }, {});
      // IFLA_LINKINFO { IFLA_INFO_KIND "bridge" }
      const kind = [16, 0, 18, 0, 10, 0, 1, 0, ...Buffer.from("bridge"), 0, 0];
      return { type: 16, flags: flag.create, body: Uint8Array.of(...body, ...kind) };
    };
    const results = socket.pipeline(
      Array.from({ length: 100 }, (_, index) => create(`br${index}`)),
      "create bridges",
    );
    assert.deepEqual(results.filter(Boolean), []);
    assert.equal(socket.dump(getLinks(), "list links").length, 101);
    assert.throws(
      () => socket.dump({ type: 18, flags: 0, body: new Uint8Array(3) }, "list links"),
      (error) => error instanceof KernelError && error.code === "EINVAL",
    );
  };
  withSocket(list);
  withSocket(list, { receiveBufferBytes: 1 });
});

void test("policy rules are listed", () => {
  withSocket((socket) => {
    for (const family of [4, 6] as const) {
      const rules = socket.dump(getRules(family), "list rules").map(decodeRule);
      assert.ok(
        rules.some((rule) => rule?.table === routeTable.main && rule.priority === 32766 && rule.family === family),
      );
    }
  });
});

void test("notifications come to members of a group only, and a buffer that runs over is told", () => {
  const namespace = createNetworkNamespace();
  const socket = openNetlinkSocket(namespace, protocol.route);
  const member = openNetlinkSocket(namespace, protocol.route, { groups: [1], receiveBufferBytes: 1 });
  const change = (mtu: number): void => void socket.request(setLink({ name: "lo" }, { mtu }), "set lo");
  change(1500);
  assert.equal(member.receive().messages.length, 1);
  for (let mtu = 2000; mtu < 2100; mtu++) change(mtu);
  assert.equal(member.receive().overrun, true);
  assert.equal(member.receive().overrun, false);
  member.setMembership(1, "leave");
  change(3000);
  assert.equal(member.receive().messages.length, 0);
  assert.equal(socket.receive().messages.length, 0);
  for (const one of [member, socket, namespace]) one.close();
});

void test("a closed socket says so, and closing twice harms nobody", () => {
  withSocket((socket) => {
    socket.close();
    socket.close();
    assert.throws(() => socket.request(present, "set lo up"), /set lo up: the netlink socket was closed/);
  });
});

void test("an unknown netlink family is refused with its number", () => {
  const namespace = createNetworkNamespace();
  assert.throws(
    () => openNetlinkSocket(namespace, 31),
    (error) => error instanceof KernelError && error.code === "EPROTONOSUPPORT" && /protocol 31/.test(error.message),
  );
  namespace.close();
});
