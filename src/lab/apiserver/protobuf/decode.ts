import type { Fields, Expected } from "../body.ts";
import { badRequest } from "../../api/errors.ts";
export function decodeProtobuf(_bytes: Buffer, _expected: Expected): Fields {
  throw badRequest("protobuf");
}
