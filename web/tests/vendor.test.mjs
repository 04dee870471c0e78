// The code of others is what its README.md says it is.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

test("vendored files are unchanged, and each has its licence beside it", () => {
  const folder = new URL("../vendor/", import.meta.url);
  const rows = readFileSync(new URL("README.md", folder), "utf8").matchAll(/^\| `(\w+)\.mjs` .*`(LICENSE-\w+)`\) \| `(\w{64})` \|$/gm);
  const listed = [...rows].map(([, name, licence, hash]) => {
    assert.equal(createHash("sha256").update(readFileSync(new URL(`${name}.mjs`, folder))).digest("hex"), hash, name);
    assert(readFileSync(new URL(licence, folder), "utf8").length > 500, licence);
    return [`${name}.mjs`, licence];
  });
  assert.deepEqual([...listed.flat(), "README.md"].sort(), readdirSync(folder).sort());
});
