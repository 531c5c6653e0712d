// The tools that containers have whatever the machine has; main.ts runs them by these names.

export const toolNames: readonly string[] = [
  "agnhost",
  "curl",
  "dig",
  "getent",
  "host",
  "hostname",
  "nc",
  "nslookup",
  "ping",
  "ping6",
  "wget",
];
