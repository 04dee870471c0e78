// Reading crates/proto/vectors/*.txt as their README.md says.
import { readFileSync } from "node:fs";

/** The lines of a vector file, each as `count` fields (the last takes the rest). */
export function vectors(name, count, separator = "  ") {
  const file = new URL(`../../crates/proto/vectors/${name}.txt`, import.meta.url);
  const lines = readFileSync(file, "utf8").split("\n").filter((line) => line && !line.startsWith("#"));
  return lines.map((line) => {
    const fields = line.split(separator);
    return [...fields.slice(0, count - 1), fields.slice(count - 1).join(separator)];
  });
}

/** `7b+20*60000+7d`; `-` is nothing. */
export function bytes(hex) {
  const pieces = hex.split("+").filter((piece) => piece !== "-").map((piece) => {
    const [digits, times = "1"] = piece.split("*");
    return Buffer.concat(Array(Number(times)).fill(Buffer.from(digits, "hex")));
  });
  return new Uint8Array(Buffer.concat(pieces));
}

/** Where to cut: everywhere, or in something long near its ends and here and there. */
export function cuts(length) {
  const all = Array.from({ length: length + 1 }, (_, at) => at);
  if (length <= 1_000) return all;
  const step = Math.ceil(length / 13);
  return all.filter((at) => at < 60 || at >= length - 30 || at % step === 0);
}
