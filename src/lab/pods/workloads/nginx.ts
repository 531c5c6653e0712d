// nginx as demos use it: the welcome page, the files of /usr/share/nginx/html that a volume brings, an access log.

import { programOf, type BuiltinWorkload } from "./workload.ts";
import { serveHttp, send } from "./listen.ts";
import { accessLine, servedBy, urlOf } from "./web.ts";

export const nginx: BuiltinWorkload = {
  name: "nginx",
  serves: (argv) => argv.some((word) => programOf([word]) === "nginx") && !argv.some((word) => /^-[tTvV]/.test(word)),
  start(context) {
    return serveHttp(
      { namespace: context.namespace, port: Number(context.env["NGINX_PORT"] ?? 80) },
      (request, response) => {
        context.log(accessLine(request, 200));
        send(response, 200, `Welcome to nginx! ${urlOf(request).pathname}\n`, servedBy(context));
      },
    );
  },
};
