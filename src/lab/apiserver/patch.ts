import type { Exchange } from "./exchange.ts";
import type { View } from "./represent.ts";
import type { ResourceOptions } from "./resources.ts";
import { methodNotAllowed } from "./status.ts";
export function patchRequest(_exchange: Exchange, _view: View, _options: ResourceOptions): Promise<void> {
  throw methodNotAllowed();
}
