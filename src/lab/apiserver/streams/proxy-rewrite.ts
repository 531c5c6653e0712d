// Answers of proxied servers made to work behind a longer path: redirects and links that begin at the root get the proxy's path in front.
// Upstream: apimachinery/pkg/util/proxy/transport.go.

import { Transform } from "node:stream";

export interface RewriteContext {
  /** `/api/v1/namespaces/default/pods/web/proxy` */
  readonly prefix: string;
  /** What the proxied server may call itself: the address it was reached at, and the Host header it was sent. */
  readonly hosts: readonly string[];
}

/** A URL as the client must see it. Relative ones and those of other hosts stay as they are. */
export function rewriteUrl(url: string, { prefix, hosts }: RewriteContext): string {
  const match = /^(?:[a-z][a-z0-9+.-]*:)?\/\/([^/?#]*)(.*)$/is.exec(url);
  const path = match === null ? url : match[2] === "" ? "/" : (match[2] ?? "/");
  if (match !== null && !hosts.includes(match[1] ?? "")) return url;
  if (!path.startsWith("/") || path === prefix || path.startsWith(`${prefix}/`))
    return path.startsWith("/") ? path : url;
  return prefix + path;
}

// The attributes of HTML that hold one URL, by their element.
const urlAttributes: { readonly [element: string]: readonly string[] } = {
  a: ["href"],
  applet: ["codebase"],
  area: ["href"],
  audio: ["src"],
  base: ["href"],
  blockquote: ["cite"],
  body: ["background"],
  button: ["formaction"],
  command: ["icon"],
  del: ["cite"],
  embed: ["src"],
  form: ["action"],
  frame: ["longdesc", "src"],
  head: ["profile"],
  html: ["manifest"],
  iframe: ["longdesc", "src"],
  img: ["longdesc", "src", "usemap"],
  input: ["src", "usemap", "formaction"],
  ins: ["cite"],
  link: ["href"],
  object: ["classid", "codebase", "data", "usemap"],
  q: ["cite"],
  script: ["src"],
  source: ["src"],
  video: ["poster", "src"],
};

/** HTML with its links rewritten. Everything else stays byte for byte. */
export function rewriteHtml(html: string, context: RewriteContext): string {
  return html.replaceAll(
    /<([a-zA-Z]+)((?:\s+[^\s=>/]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))?)+)/g,
    (tag: string, element: string, attributes: string) => {
      const names = urlAttributes[element.toLowerCase()];
      if (names === undefined) return tag;
      const rewritten = attributes.replaceAll(
        /([^\s=>/]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)/g,
        (whole: string, name: string, equals: string, value: string) => {
          if (!names.includes(name.toLowerCase())) return whole;
          const quote = value[0] === '"' || value[0] === "'" ? value[0] : "";
          const url = quote === "" ? value : value.slice(1, -1);
          return name + equals + quote + rewriteUrl(url, context) + quote;
        },
      );
      return `<${element}${rewritten}`;
    },
  );
}

/** Pages longer than this pass as they are. */
const pageBytesMax = 8 * 1024 * 1024;

/** A stream that rewrites a page: held until it is whole, since a link may be cut anywhere. */
export function htmlRewriter(context: RewriteContext): Transform {
  let held: Buffer[] = [];
  let size = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      held.push(chunk);
      if (size <= pageBytesMax) return done();
      for (const each of held) this.push(each);
      held = [];
      done();
    },
    flush(done) {
      if (size > pageBytesMax) return done();
      // latin1 keeps every byte as it is, whatever the page's character set.
      done(null, Buffer.from(rewriteHtml(Buffer.concat(held).toString("latin1"), context), "latin1"));
    },
  });
}
