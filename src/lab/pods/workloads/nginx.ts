// nginx as demos use it: the welcome page, the files of /usr/share/nginx/html that a volume brings, an access log,
// and the configuration of /etc/nginx that a volume brings, as far as nginx-config.ts understands it.

import { defaultConfiguration, readConfiguration } from "./nginx-config.ts";
import { serveNginx } from "./nginx-server.ts";
import { programOf, type BuiltinWorkload } from "./workload.ts";

export const nginx: BuiltinWorkload = {
  name: "nginx",
  serves: (argv) => ["nginx", "nginx-debug"].includes(programOf(argv)) && !argv.some((word) => /^-[tTvV?h]/.test(word)),
  start(context) {
    const configuration =
      readConfiguration(context.files) ?? defaultConfiguration(Number(context.env["NGINX_PORT"] ?? 80));
    context.log("[notice] start worker processes: Fairlead's stand-in for nginx, inside the lab's daemon");
    return serveNginx(context, configuration);
  },
};
