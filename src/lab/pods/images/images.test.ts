import { test } from "node:test";
import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BuiltinWorkload } from "../workloads/workload.ts";
import { builtinImages } from "./builtin.ts";
import { commandLine, createImages, type Images } from "./images.ts";
import { matchesName, parseReference, referenceText } from "./reference.ts";

const idOf = (images: Images, name: string): string => {
  const found = images.lookup(name);
  return "image" in found ? found.image.id : "refused";
};

test("references: defaults are filled in, digests kept, nonsense refused", () => {
  const full = (text: string): string | undefined => {
    const reference = parseReference(text);
    return reference && referenceText(reference);
  };
  assert.equal(full("nginx"), "docker.io/library/nginx:latest");
  assert.equal(full("me/app:1"), "docker.io/me/app:1");
  assert.equal(full("localhost:5000/app"), "localhost:5000/app:latest");
  assert.equal(full(`r.example.com/a/b:v1@sha256:${"0".repeat(64)}`), `r.example.com/a/b:v1@sha256:${"0".repeat(64)}`);
  for (const wrong of ["", "UPPER", "a b", "a:b:c", "/x", "x/"]) assert.equal(full(wrong), undefined, wrong);
});

test("built-in names match behind any registry, but not somebody's own image of that name", () => {
  const matches = (name: string, text: string): boolean => {
    const reference = parseReference(text);
    return reference !== undefined && matchesName(name, reference);
  };
  for (const text of [
    "nginx",
    "nginx:1.27",
    "docker.io/library/nginx",
    "mirror.example.com/library/nginx:alpine",
    "public.ecr.aws/nginx/nginx",
  ])
    assert.equal(matches("nginx", text), true, text);
  for (const text of ["somebody/nginx", "nginx-ingress", "example.com/nginx-x"])
    assert.equal(matches("nginx", text), false, text);
  assert.equal(matches("fairlead.dev/dns", "fairlead.dev/dns:0.1.0"), true);
  assert.equal(matches("fairlead.dev/dns", "example.com/dns"), false);
});

test("the names people use in network demos are there", () => {
  const images = createImages();
  const names = `registry.k8s.io/e2e-test-images/agnhost:2.39 registry.k8s.io/pause:3.9 nginx httpd:2.4 hashicorp/http-echo:0.2.3
    traefik/whoami gcr.io/google-samples/hello-app:1.0 us-docker.pkg.dev/google-samples/containers/gke/hello-app:2.0 kennethreitz/httpbin mccutchen/go-httpbin busybox:1.28 alpine:3 debian:bookworm
    ubuntu curlimages/curl nicolaka/netshoot registry.k8s.io/e2e-test-images/jessie-dnsutils:1.3 redis:7-alpine postgres:16`;
  for (const name of names.split(/\s+/)) assert.notEqual(idOf(images, name), "refused", name);
});

test("any other image is refused with the cure", () => {
  const found = createImages().lookup("example.com/shop/api:v3");
  assert.ok("refused" in found);
  assert.match(
    found.refused,
    /nothing is downloaded here; map it with: fairlead image add example\.com\/shop\/api:v3 PATH/,
  );
  const wrong = createImages().lookup("Not An Image");
  assert.ok("refused" in wrong && wrong.refused.includes("invalid reference format"));
});

test("mappings: every tag, wildcards, one tag; they come before built-in ones and outlive the process", () => {
  const folder = fs.mkdtempSync(join(tmpdir(), "images-"));
  const file = join(folder, "images.json");
  const images = createImages({ file });
  images.add({ name: "me/app", path: "/bin/sh" });
  images.add({ name: "registry.example.com/*", path: folder });
  images.add({ name: "nginx:1.0", path: "/bin/cat" });
  const again = createImages({ file });
  for (const one of [images, again]) {
    assert.equal(idOf(one, "me/app:v9"), "file:///bin/sh");
    assert.equal(idOf(one, "docker.io/me/app"), "file:///bin/sh");
    assert.equal(idOf(one, "registry.example.com/any/thing:1"), `file://${folder}`);
    assert.equal(idOf(one, "nginx:1.0"), "file:///bin/cat");
    assert.equal(idOf(one, "nginx:1.1"), "fairlead.dev/builtin/nginx");
  }
  assert.equal(again.remove("me/app"), true);
  assert.equal(again.remove("me/app"), false);
  assert.equal(idOf(images, "me/app"), "refused");
  assert.throws(() => images.add({ name: "x", path: join(folder, "none") }), /no such file or directory/);
  assert.throws(() => images.add({ name: "x", path: "relative" }), /absolute/);
  assert.throws(() => images.add({ name: "x", path: file }), /neither a directory nor executable; try: chmod \+x/);
  fs.rmSync(folder, { recursive: true });
});

test("a mapped path that has gone is named", () => {
  const folder = fs.mkdtempSync(join(tmpdir(), "images-"));
  const images = createImages();
  images.add({ name: "gone", path: folder });
  fs.rmSync(folder, { recursive: true });
  const found = images.lookup("gone");
  assert.ok("refused" in found && found.refused.includes(`mapped to ${folder}, which is not there`));
});

test("command replaces the entrypoint, args the command", () => {
  const found = createImages().lookup("agnhost");
  assert.ok("image" in found);
  const { image } = found;
  assert.deepEqual(commandLine(image, {}), ["/agnhost", "pause"]);
  assert.deepEqual(commandLine(image, { args: ["netexec"] }), ["/agnhost", "netexec"]);
  assert.deepEqual(commandLine(image, { command: ["sh"], args: ["-c", "x"] }), ["sh", "-c", "x"]);
  assert.deepEqual(commandLine(image, { command: ["sleep"] }), ["sleep"]);
});

test("the real agnhost, mapped as a program, is where its image has it and starts as its image starts", () => {
  const images = createImages();
  images.add({ name: "registry.k8s.io/e2e-test-images/agnhost:*", path: "/bin/true" });
  const found = images.lookup("registry.k8s.io/e2e-test-images/agnhost:2.63.0");
  assert.ok("image" in found);
  const { image } = found;
  assert.deepEqual(commandLine(image, {}), ["/agnhost", "pause"]);
  assert.deepEqual(
    image.mounts.map(({ source, target }) => `${source} ${target}`).filter((line) => !line.endsWith(" /bin/sh")),
    ["/bin/true /app/true", "/bin/true /agnhost", "/bin/true /agnhost-2"],
  );
  assert.equal(image.workload, undefined);
});

test("a server beside the image's own program stays when that is mapped", () => {
  const images = createImages();
  const beside: BuiltinWorkload = {
    name: "coredns",
    serves: ([program]) => program === "/coredns",
    start: () => ({ stop() {} }),
  };
  const serves = (...argv: readonly string[]): boolean => {
    const found = images.lookup("agnhost");
    return "image" in found && found.image.workload?.serves(argv) === true;
  };
  images.register("agnhost", { ...builtinImages["agnhost"], beside });
  assert.deepEqual([serves("/coredns"), serves("/agnhost", "pause")], [true, true]);
  images.add({ name: "agnhost", path: "/bin/true" });
  assert.deepEqual([serves("/coredns"), serves("/agnhost", "pause")], [true, false]);
});

test("which command lines are the image's own server", () => {
  const images = createImages();
  const serves = (name: string, ...argv: readonly string[]): boolean => {
    const found = images.lookup(name);
    return "image" in found && found.image.workload?.serves(argv) === true;
  };
  assert.ok(serves("agnhost", "/agnhost", "netexec", "--http-port=80"));
  assert.ok(!serves("agnhost", "/agnhost", "connect", "x:80"));
  assert.ok(serves("nginx", "nginx", "-g", "daemon off;"));
  assert.ok(!serves("nginx", "nginx", "-t"));
  assert.ok(!serves("nginx", "sh", "-c", "sleep 1"));
  assert.ok(serves("redis", "redis-server", "--port", "7000"));
  assert.ok(!serves("redis", "redis-cli", "ping"));
  assert.ok(!serves("busybox", "sh"));
});
