// The built-in images: the names people use in network demos, and what stands for them.
// Names match with any registry in front and any tag (reference.ts).

import { localhostFiles } from "../workloads/agnhost-certificate.ts";
import { agnhost } from "../workloads/agnhost.ts";
import { nginx } from "../workloads/nginx.ts";
import { pause } from "../workloads/pause.ts";
import { postgres } from "../workloads/postgres.ts";
import { redis } from "../workloads/redis.ts";
import { echoServer, helloApp, httpbin, httpd, httpEcho, nginxHello, updateDemo, whoami } from "../workloads/web.ts";
import type { BuiltinImage } from "./images.ts";

const shell: BuiltinImage = { command: ["sh"], shell: "busybox" };
const dash: BuiltinImage = { command: ["sh"] };
const bash: BuiltinImage = { command: ["bash"] };
const agnhostImage: BuiltinImage = {
  workload: agnhost,
  entrypoint: ["/agnhost"],
  command: ["pause"],
  tools: { "/agnhost": "agnhost", "/agnhost-2": "agnhost" },
  files: localhostFiles,
  shell: "busybox",
};
const nginxImage: BuiltinImage = {
  workload: nginx,
  command: ["nginx", "-g", "daemon off;"],
  env: { NGINX_VERSION: "1.27.0" },
};
const unprivilegedNginx: BuiltinImage = { ...nginxImage, env: { ...nginxImage.env, NGINX_PORT: "8080" } };
// curl's own image runs curl with what follows, or another program when one is named.
const curlImage: BuiltinImage = {
  shell: "busybox",
  entrypoint: ["sh", "-c", 'case "${1-}" in ""|-*|*://*) exec curl "$@";; esac; exec "$@"', "entrypoint"],
};

/** Built-in images by name. */
export const builtinImages: Readonly<Record<string, BuiltinImage>> = {
  agnhost: agnhostImage,
  pause: { workload: pause, entrypoint: ["/pause"] },

  nginx: nginxImage,
  "nginxinc/nginx-unprivileged": unprivilegedNginx,
  "bitnami/nginx": unprivilegedNginx,
  "nginxdemos/hello": { workload: nginxHello, entrypoint: ["nginx-hello"] },
  "nginxdemos/nginx-hello": { workload: nginxHello, entrypoint: ["nginx-hello"] },
  httpd: { workload: httpd, command: ["httpd-foreground"] },
  "hashicorp/http-echo": { workload: httpEcho, entrypoint: ["/http-echo"] },
  "traefik/whoami": { workload: whoami, entrypoint: ["/whoami"] },
  "containous/whoami": { workload: whoami, entrypoint: ["/whoami"] },
  "google-samples/hello-app": { workload: helloApp, command: ["./hello-app"], tagAsArgument: true },
  "samples/hello-app": { workload: helloApp, command: ["./hello-app"], tagAsArgument: true },
  "hello-app": { workload: helloApp, command: ["./hello-app"], tagAsArgument: true },
  echoserver: { workload: echoServer, command: ["echoserver"] },
  "kicbase/echo-server": { workload: echoServer, command: ["echoserver"] },
  "ealen/echo-server": { workload: echoServer, command: ["echoserver"], env: { PORT: "80" } },
  "kennethreitz/httpbin": { workload: httpbin, command: ["httpbin"] },
  "mccutchen/go-httpbin": { workload: httpbin, command: ["go-httpbin"] },
  redis: { workload: redis, command: ["redis-server"] },
  postgres: { workload: postgres, command: ["postgres"] },

  busybox: shell,
  alpine: shell,
  debian: bash,
  ubuntu: bash,
  "curlimages/curl": curlImage,
  "curl/curl": curlImage,
  "alpine/curl": curlImage,
  "radial/busyboxplus": shell,
  "nicolaka/netshoot": shell,
  "wbitt/network-multitool": shell,
  "praqma/network-multitool": shell,
  dnsutils: dash,
  "jessie-dnsutils": dash,
  "tutum/dnsutils": dash,
  // Its arguments are the shell's.
  "infoblox/dnstools": { entrypoint: ["sh"], shell: "busybox" },
  "e2e-test-images/jessie-dnsutils": dash,
  "e2e-test-images/nautilus": { workload: updateDemo("nautilus.jpg"), command: ["/test-webserver"] },
  "e2e-test-images/kitten": { workload: updateDemo("kitten.jpg"), command: ["/test-webserver"] },
  "build-image/distroless-iptables": shell,
  "e2e-test-images/glibc-dns-testing": agnhostImage,
};
