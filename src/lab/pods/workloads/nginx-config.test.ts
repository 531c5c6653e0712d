import { test } from "node:test";
import assert from "node:assert/strict";
import type { ContainerFiles } from "../files.ts";
import { defaultConfiguration, parse, readConfiguration } from "./nginx-config.ts";
import { chooseLocation, chooseServer } from "./nginx-server.ts";

function filesOf(files: Readonly<Record<string, string>>): ContainerFiles {
  return {
    read: (path) => (path in files ? Buffer.from(files[path] ?? "") : undefined),
    kindOf: (path) => (path in files ? "file" : undefined),
    list: (path) =>
      Object.keys(files).flatMap((name) => (name.startsWith(`${path}/`) ? [name.slice(path.length + 1)] : [])),
  };
}

test("the language: comments, quotes, escapes, blocks, lines", () => {
  const directives = parse(`a 1; # comment ; {\nb "x;y" 'it\\'s' { c; }\n`, "f");
  assert.deepEqual(
    directives.map(({ name, values, line, block }) => [name, values, line, block?.map((inner) => inner.name)]),
    [
      ["a", ["1"], 1, undefined],
      ["b", ["x;y", "it's"], 2, ["c"]],
    ],
  );
  assert.throws(() => parse("a 1", "f"), /directive "a" is not terminated by ";" in f:1/);
  assert.throws(() => parse("a {", "f"), /unexpected end of file, expecting "}" in f:1/);
  assert.throws(() => parse("\n}", "f"), /unexpected "}" in f:2/);
});

test("a site from conf.d: return, proxy_pass with headers, upstreams", () => {
  const configuration = readConfiguration(
    filesOf({
      "/etc/nginx/conf.d/default.conf": `
        upstream api { server api-1:8080; server api-2:8080 weight=5; }
        server {
          listen 8080 default_server;
          server_name shop.example *.shop.example;
          location / { default_type text/html; return 200 "hello $hostname\\n"; }
          location /api/ { proxy_pass http://api; proxy_set_header Host $host; proxy_http_version 1.1; }
          location = /health { access_log off; return 204; }
          location ~* \\.(png|jpg)$ { root /images; }
        }`,
    }),
  );
  const [server] = configuration?.servers ?? [];
  assert.ok(server !== undefined);
  assert.deepEqual(server.listen, [{ port: 8080, isDefault: true }]);
  assert.deepEqual(configuration?.upstreams.get("api"), ["api-1:8080", "api-2:8080"]);
  assert.deepEqual(chooseLocation(server, "/x")?.answer, { status: 200, text: "hello $hostname\n" });
  assert.deepEqual(chooseLocation(server, "/api/v1")?.proxy, { target: "http://api", headers: [["Host", "$host"]] });
  assert.deepEqual(chooseLocation(server, "/health")?.answer, { status: 204, text: "" });
  assert.equal(chooseLocation(server, "/health")?.logged, false);
  assert.equal(chooseLocation(server, "/a.PNG")?.root, "/images");
});

test("a whole nginx.conf with include; tuning is accepted", () => {
  const configuration = readConfiguration(
    filesOf({
      "/etc/nginx/nginx.conf":
        "user nginx; worker_processes auto; events { worker_connections 1024; } http { include mime.types; sendfile on; gzip on; include conf.d/*.conf; }",
      "/etc/nginx/conf.d/a.conf": "server { listen [::]:81; return 301 https://$host$request_uri; }",
    }),
  );
  assert.deepEqual(configuration?.servers[0]?.listen, [{ port: 81, isDefault: false }]);
  assert.deepEqual(configuration?.servers[0]?.locations[0]?.answer, { status: 301, text: "https://$host$request_uri" });
});

test("what is not understood ends the server, with file and line", () => {
  const read = (text: string) => () => readConfiguration(filesOf({ "/etc/nginx/conf.d/x.conf": text }));
  assert.throws(
    read("server {\n rewrite ^ /x;\n}"),
    /nginx: \[emerg\] unknown directive "rewrite".* in \/etc\/nginx\/conf\.d\/x\.conf:2/,
  );
  assert.throws(read("server { listen 443 ssl; }"), /does not serve TLS/);
});

test("servers are chosen by name, wildcard, mark, order; locations by nginx's rules", () => {
  const { servers } = readConfiguration(
    filesOf({
      "/etc/nginx/conf.d/x.conf": `
        server { listen 80; server_name a.example; location ^~ /static { return 200 s; } location ~ /static/x { return 200 r; } location /static/long { return 200 l; } }
        server { listen 80 default_server; server_name b.example; }
        server { listen 80; server_name *.c.example; }`,
    }),
  ) ?? { servers: [] };
  const [a, b, c] = servers;
  assert.equal(chooseServer(servers, 80, "A.example:80"), a);
  assert.equal(chooseServer(servers, 80, "x.c.example"), c);
  assert.equal(chooseServer(servers, 80, "nobody"), b);
  assert.equal(chooseServer(servers, 80, undefined), b);
  assert.equal(chooseServer(servers, 81, "a.example"), undefined);
  assert.ok(a !== undefined);
  assert.equal(chooseLocation(a, "/static/a")?.answer?.text, "s");
  assert.equal(chooseLocation(a, "/static/x")?.answer?.text, "s");
  assert.equal(chooseLocation(a, "/static/long/x")?.answer?.text, "l");
});

test("without a volume there is the image's own site", () => {
  assert.equal(readConfiguration(filesOf({})), undefined);
  assert.deepEqual(defaultConfiguration(8080).servers[0]?.listen, [{ port: 8080, isDefault: false }]);
});
