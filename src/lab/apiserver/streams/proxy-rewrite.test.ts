// Links and redirects behind a proxy's path.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { rewriteHtml, rewriteUrl } from "./proxy-rewrite.ts";

const prefix = "/api/v1/namespaces/default/pods/web/proxy";
const context = { prefix, hosts: ["10.244.1.5:8080", "127.0.0.1:6443"] };

test("URLs of the server itself get the prefix, others stay", () => {
  const table: readonly (readonly [string, string])[] = [
    ["/a/b?c#d", `${prefix}/a/b?c#d`],
    ["/", `${prefix}/`],
    ["relative", "relative"],
    ["?query", "?query"],
    ["#part", "#part"],
    ["http://10.244.1.5:8080/a", `${prefix}/a`],
    ["http://10.244.1.5:8080", `${prefix}/`],
    ["https://127.0.0.1:6443/a", `${prefix}/a`],
    ["//10.244.1.5:8080/a", `${prefix}/a`],
    ["http://example.org/a", "http://example.org/a"],
    ["mailto:a@example.org", "mailto:a@example.org"],
    [`${prefix}/a`, `${prefix}/a`],
    [prefix, prefix],
  ];
  for (const [url, expected] of table) assert.equal(rewriteUrl(url, context), expected, url);
});

test("attributes that hold a URL are rewritten, nothing else is", () => {
  const table: readonly (readonly [string, string])[] = [
    ['<a href="/x">/x</a>', `<a href="${prefix}/x">/x</a>`],
    ["<A CLASS=b HREF='/x'>", `<A CLASS=b HREF='${prefix}/x'>`],
    ["<img src=/x.png>", `<img src=${prefix}/x.png>`],
    ['<a title="/x" href="y">', '<a title="/x" href="y">'],
    ['<p href="/x">', '<p href="/x">'],
    ['<form method="post" action="/go">', `<form method="post" action="${prefix}/go">`],
    ["text /x < /y", "text /x < /y"],
    ['<a\n  href = "/x"\n>', `<a\n  href = "${prefix}/x"\n>`],
  ];
  for (const [html, expected] of table) assert.equal(rewriteHtml(html, context), expected, html);
});

test("rewriting twice is rewriting once, and text without tags stays", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("<a ", "href=", '"/x"', "'/y'", "/z", ">", "<img", " src", "=", "\n", "text", '"')),
      (parts) => {
        const html = parts.join("");
        const once = rewriteHtml(html, context);
        assert.equal(rewriteHtml(once, context), once);
      },
    ),
  );
  fc.assert(
    fc.property(
      fc.string().filter((text) => !text.includes("<")),
      (text) => assert.equal(rewriteHtml(text, context), text),
    ),
  );
});
