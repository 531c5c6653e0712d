// The tools that containers have whatever the machine has; main.ts runs them by these names.

export const toolNames: readonly string[] = [
  "agnhost",
  "curl",
  "dig",
  "getent",
  "host",
  "hostname",
  "http-echo",
  "httpd",
  "httpd-foreground",
  "iperf",
  "nc",
  "nginx",
  "nslookup",
  "pg_isready",
  "ping",
  "ping6",
  "redis-cli",
  "redis-server",
  "wget",
];
