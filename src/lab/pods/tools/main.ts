// The tools inside containers: `main.ts NAME ARGUMENTS…` runs the tool of that name. Started by /opt/fairlead/bin/NAME (toolbox.ts).

import process from "node:process";

/** A tool: its exit status comes back, output goes to the process's own streams. */
export type Tool = (words: readonly string[]) => Promise<number>;

const [name = "", ...words] = process.argv.slice(2);

function server(program: string): () => Promise<Tool> {
  return async () => {
    const { serve } = await import("./serve.ts");
    return (rest) => serve(program, rest);
  };
}

const tools: Readonly<Record<string, () => Promise<Tool>>> = {
  agnhost: async () => {
    const { isServer, serve } = await import("./serve.ts");
    if (isServer("agnhost", words)) return (rest) => serve("agnhost", rest);
    return (await import("./agnhost.ts")).agnhost;
  },
  curl: async () => (await import("./curl.ts")).curl,
  dig: async () => (await import("./dig.ts")).dig,
  getent: async () => (await import("./getent.ts")).getent,
  host: async () => (await import("./nslookup.ts")).host,
  hostname: async () => (await import("./hostname.ts")).hostname,
  "http-echo": server("http-echo"),
  httpd: async () => (await import("./serve.ts")).httpdTool,
  "httpd-foreground": server("httpd-foreground"),
  iperf: async () => (await import("./iperf.ts")).iperf,
  nc: async () => (await import("./nc.ts")).nc,
  nginx: server("nginx"),
  nslookup: async () => (await import("./nslookup.ts")).nslookup,
  pg_isready: async () => (await import("./redis-cli.ts")).pgIsReady,
  ping: async () => (await import("./ping.ts")).ping,
  ping6: async () => {
    const { ping } = await import("./ping.ts");
    return (words) => ping(["-6", ...words]);
  },
  "redis-cli": async () => (await import("./redis-cli.ts")).redisCli,
  "redis-server": server("redis-server"),
  wget: async () => (await import("./wget.ts")).wget,
};

const tool = tools[name];
// Writing to a pipe whose reader has gone (`curl … | head`) is no crash.
process.stdout.on("error", () => process.exit(141));
if (tool === undefined) {
  process.stderr.write(`${name}: no such tool; there are: ${Object.keys(tools).join(" ")}\n`);
  process.exitCode = 127;
} else {
  process.exitCode = await (await tool())(words);
}
