import assert from "node:assert/strict";
import { test } from "node:test";

import { check, errno, errnoName, errnoText, libc } from "./ffi.ts";
import { KernelError } from "./kernel.ts";

const getppid = libc("pid_t getppid(void)");
const close = libc("int close(int fd)");

void test("a result comes back as it is, a failure as the negative errno", () => {
  assert.equal(getppid(), process.ppid);
  assert.equal(close(-1), -errno.EBADF);
});

void test("a failure becomes an error that says what was done, why, and what may help", () => {
  assert.equal(check("ask", 7), 7);
  assert.throws(
    () => check("close a descriptor", close(-1), "give one that is open"),
    (error) =>
      error instanceof KernelError &&
      error.code === "EBADF" &&
      error.message === "close a descriptor: EBADF: Bad file descriptor; give one that is open",
  );
});

void test("errnos have Linux's names", () => {
  // asm-generic/errno.h; those with two names under the one that is used in documentation.
  for (const [number, name] of [
    [11, "EAGAIN"],
    [95, "EOPNOTSUPP"],
    [93, "EPROTONOSUPPORT"],
    [17, "EEXIST"],
    [523, "E523"],
  ] as const)
    assert.equal(errnoName(number), name);
  assert.equal(errnoText(17), "File exists");
});
