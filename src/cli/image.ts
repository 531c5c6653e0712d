// `fairlead image list|add|remove`: which image names can run here.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { table } from "./report.ts";

export default async function image(
  action: string,
  name: string | undefined,
  path: string | undefined,
  options: { readonly name: string; readonly output?: string },
): Promise<number> {
  const lab = labClient(labPaths(options.name));
  switch (action) {
    case "list": {
      const { images } = await lab.call<{ images: readonly { name: string; what: string }[] }>("/image", { action });
      if (options.output === "json") process.stdout.write(`${JSON.stringify(images, undefined, 2)}\n`);
      else process.stdout.write(table([["IMAGE", "WHAT RUNS"], ...images.map((each) => [each.name, each.what])]));
      return 0;
    }
    case "add": {
      if (name === undefined || path === undefined)
        throw new Error("image add: fairlead image add NAME PATH (a root folder or a static program)");
      const absolute = resolve(path);
      if (!existsSync(absolute)) throw new Error(`image add ${name}: ${absolute}: no such file or folder`);
      await lab.call("/image", { action, image: name, path: absolute });
      process.stdout.write(`image ${name} is ${absolute}\n`);
      return 0;
    }
    case "remove":
      if (name === undefined) throw new Error("image remove: fairlead image remove NAME");
      await lab.call("/image", { action, image: name });
      process.stdout.write(`image ${name} removed\n`);
      return 0;
    default:
      throw new Error(`image ${action}: must be one of list, add, remove`);
  }
}
