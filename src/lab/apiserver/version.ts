// What this server says of its version: the Kubernetes release whose API it serves (version.Info).

/** `GET /version`. */
export const versionInfo: { readonly [field: string]: string } = {
  major: "1",
  minor: "36",
  emulationMajor: "1",
  emulationMinor: "36",
  minCompatibilityMajor: "1",
  minCompatibilityMinor: "35",
  gitVersion: "v1.36.3",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: process.version,
  compiler: "fairlead",
  platform: `linux/${process.arch === "x64" ? "amd64" : process.arch}`,
};
