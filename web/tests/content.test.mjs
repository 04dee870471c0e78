// What a message's content becomes: links, pictures, files; and the colours of names.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileName, look, pictureOf } from "../files.js";
import { pieces } from "../links.js";
import { LANGUAGES, speaker } from "../words.js";

const hrefs = (text) => pieces(text).filter((piece) => piece.href).map(({ href }) => href);
const bytes = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part)))));

test("links are http and https, without the end of the sentence", () => {
  for (const [text, ...expected] of [
    ["see https://a.example/x?y=1#z, and (http://b.example/p_(q)).", "https://a.example/x?y=1#z", "http://b.example/p_(q)"],
    ["[https://a.example]", "https://a.example/"],
    ["HTTPS://A.Example/B", "https://a.example/B"],
    ["xem https://vi.wikipedia.org/wiki/Hà_Nội。", "https://vi.wikipedia.org/wiki/H%C3%A0_N%E1%BB%99i"],
    ["https://münchen.example", "https://xn--mnchen-3ya.example/"],
    ["http://[::1]:8080/", "http://[::1]:8080/"],
    ["<https://a.example>\"https://b.example\"", "https://a.example/", "https://b.example/"],
  ]) assert.deepEqual(hrefs(text), expected, text);
});

test("what is no plain address stays text", () => {
  for (const text of [
    "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://a.example", "www.a.example", "//a.example", "https://", "https:// a",
    "https://user:pw@a.example", "https://bank.example@evil.example/", "xhttps://a.example", "éhttps://a.example", "https://a.example:99999", "http://%",
  ]) assert.deepEqual(pieces(text), [text], text);
  // Nothing that turns letters around, or is not seen, is a part of an address.
  assert.deepEqual(hrefs("https://a.example/\u202egnp.exe"), ["https://a.example/"]);
  assert.deepEqual(hrefs("https://a.example/\u200bx"), ["https://a.example/"]);
});

test("the pieces of a text are the text, and cost its length", () => {
  const hostile = ["https://".repeat(20_000), `https://a${")".repeat(200_000)}`, `https://a/${"(".repeat(100_000)}`, "http://a ".repeat(20_000)];
  for (const text of ["", "a\nb", "x https://a.example y", ...hostile]) {
    assert.equal(pieces(text).map((piece) => piece.text ?? piece).join(""), text);
  }
  assert.equal(hrefs("http://a ".repeat(1_000)).length, 500);
});

const u32 = (n) => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const png = (width, height) => bytes("\x89PNG\r\n\x1a\n", u32(13), "IHDR", u32(width), u32(height));
const PICTURES = [
  ["image/png", png(640, 480)],
  ["image/gif", bytes("GIF89a", [0x80, 2, 0xe0, 1])],
  ["image/jpeg", bytes("\xff\xd8\xff\xe0\x00\x04xx\xff\xff\xc2\x00\x11\x08", [1, 0xe0, 2, 0x80], "...")],
  ["image/webp", bytes("RIFF....WEBPVP8X....", u32(0), [0x7f, 2, 0, 0xdf, 1, 0])],
  ["image/webp", bytes("RIFF....WEBPVP8 ....", [0, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1])],
  ["image/webp", bytes("RIFF....WEBPVP8L....\x2f", [0x7f, 0xc2, 0x77, 0], "....")],
];

test("a picture is known by its bytes, with its size", () => {
  for (const [type, picture] of PICTURES) assert.deepEqual(pictureOf(picture), { type, width: 640, height: 480, isTooLarge: false }, type);
});

test("a picture that needs much memory is not shown", () => {
  assert.equal(pictureOf(png(4_000, 4_000)).isTooLarge, false);
  for (const [width, height] of [[4_001, 4_000], [20_000, 1], [0xffffffff, 0xffffffff]]) assert(pictureOf(png(width, height)).isTooLarge, `${width}`);
});

test("other bytes are no picture, however they are cut", () => {
  for (const [type, picture] of PICTURES) {
    for (let length = 0; length < picture.length; length += 1) {
      const cut = pictureOf(picture.subarray(0, length));
      assert(cut === null || (cut.width === 640 && cut.height === 480), `${type} ${length}`);
    }
  }
  assert.equal(pictureOf(png(0, 10)), null);
  assert.equal(pictureOf(bytes("\xff\xd8\xff", "\xe0\x00\x00".repeat(100_000))), null);
  let state = 1;
  for (let i = 0; i < 2_000; i += 1) {
    const [, start] = PICTURES[i % PICTURES.length];
    const noise = Array.from({ length: 40 }, () => (state = (state * 48_271) % 0x7fffffff) & 255);
    const found = pictureOf(bytes(start.subarray(0, 4 + (i % 26)), noise)); // must not throw
    assert(found === null || found.width * found.height > 0);
  }
});

test("HTML and SVG are text, whatever type they claim", () => {
  for (const text of ["<svg xmlns='x'><script>1</script></svg>", "<!doctype html><script>1</script>", "a\tb\r\n"]) {
    assert.deepEqual(look(bytes(text)), { text });
  }
  assert.deepEqual(look(bytes("\x00\x01")), {});
  assert.deepEqual(look(bytes("\x1b[31m")), {}, "terminal codes");
  assert.deepEqual(look(bytes("caf\xe9")), {});
});

test("a file is saved under its address, with an ending that runs nothing", () => {
  const name = (type, found) => fileName({ room: "phòng", n: 7, type }, found);
  assert.equal(name("text/csv", { text: "a,b" }), "phòng-7.csv");
  assert.equal(name("text/html", { text: "<p>" }), "phòng-7.txt");
  assert.equal(name("image/svg+xml", { text: "<svg>" }), "phòng-7.txt");
  assert.equal(name("image/png", { picture: { type: "image/webp" } }), "phòng-7.webp");
  assert.equal(name("image/png", {}), "phòng-7.bin");
  assert.equal(name("application/x-msdownload", {}), "phòng-7.bin");
  assert.equal(name("toString", {}), "phòng-7.bin");
});

// Colours, as CSS computes them: OKLCH to sRGB (Björn Ottosson's matrices), contrast by WCAG 2.
const linear = (lightness, chroma, hue) => {
  const [a, b] = [Math.cos, Math.sin].map((f) => chroma * f((hue * Math.PI) / 180));
  const [l, m, s] = [[0.3963377774, 0.2158037573], [-0.1055613458, -0.0638541728], [-0.0894841775, -1.291485548]].map(([x, y]) => (lightness + x * a + y * b) ** 3);
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
};
const ofHex = (hex) => (hex.length === 4 ? [...hex.slice(1)].map((c) => c + c) : hex.slice(1).match(/../g)).map((pair) => {
  const c = parseInt(pair, 16) / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
});
const light = (rgb) => rgb.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (one, two) => (Math.max(light(one), light(two)) + 0.05) / (Math.min(light(one), light(two)) + 0.05);

test("names have 24 distinct colours, readable on every background of both themes", async () => {
  const { colour } = await import("../parts.js");
  const places = Array.from({ length: 2_000 }, (_, i) => colour(`name${i}`));
  const all = [...new Map(places.map((place) => [JSON.stringify(place), place])).values()];
  assert.equal(all.length, 24);
  const css = readFileSync(new URL("../app.css", import.meta.url), "utf8");
  const [themes, dark] = [css.slice(0, css.indexOf("prefers-color-scheme")), css.slice(css.indexOf("prefers-color-scheme"))];
  for (const theme of [themes, dark]) {
    const value = (name) => new RegExp(`--${name}: ([^;]+);`).exec(theme)[1];
    const colours = all.map(({ hue, isDeep }) => {
      const [lightness, chroma] = value(isDeep ? "deep-name" : "name").split(" ").map(Number);
      const rgb = linear(lightness, chroma, hue);
      for (const c of rgb) assert(c >= -0.001 && c <= 1.001, `${lightness} ${chroma} ${hue} is a colour that no screen has`);
      for (const paper of ["page", "surface", "notice"]) {
        const found = contrast(rgb, ofHex(value(paper)));
        assert(found >= 4.5, `${lightness} ${chroma} ${hue} on ${paper}: ${found}`);
      }
      return [lightness, chroma * Math.cos((hue * Math.PI) / 180), chroma * Math.sin((hue * Math.PI) / 180)];
    });
    for (const [i, one] of colours.entries()) {
      for (const two of colours.slice(0, i)) assert(Math.hypot(...one.map((c, k) => c - two[k])) > 0.03, "two that look alike");
    }
  }
});

test("each language has every text, with the same values", async () => {
  const values = (text) => [...new Set((typeof text === "string" ? text : text.other).match(/\{\w+\}/g) ?? [])].sort();
  const all = {};
  const parts = {};
  for (const language of Object.keys(LANGUAGES)) {
    const files = await Promise.all([language, `${language}-later`].map((name) => import(`../words/${name}.js`)));
    parts[language] = files.map(({ words }) => Object.keys(words).filter((key) => !key.startsWith("code-")).sort());
    all[language] = { ...files[0].words, ...files[1].words };
  }
  for (const part of Object.values(parts)) assert.deepEqual(part, parts.en);
  const names = (words) => Object.keys(words).filter((key) => !key.startsWith("code-")).sort();
  for (const words of Object.values(all)) {
    assert.deepEqual(names(words), names(all.en));
    for (const key of names(all.en)) assert.deepEqual(values(words[key]), values(all.en[key]), key);
  }
  const say = speaker("en", all.en);
  assert.equal(say("unread", { count: 1_200 }), "1,200 new messages");
  assert.deepEqual([say.has("help"), say.has("code-busy"), say.has("toString")], [true, false, false]);
});

test("beside the messages it stands why somebody cannot create rooms", async () => {
  const { createHint } = await import("../side.js");
  const by = (word, known) => createHint({ admission: word && { "rooms-by": word }, known });
  assert.deepEqual([by("accounts", "ada"), by("accounts", "guest:eve"), by(null, "guest:eve")], [null, "createHint", "createHint"]);
  assert.deepEqual([by("admins", "ada"), by("admins", "guest:eve")], ["createAdmins", "createAdmins"]);
});

test("the first page says what this visitor can do", async () => {
  const { can } = await import("../door.js");
  const from = (local, guests, way) => can({ local, guests }, way);
  assert.deepEqual([can(null, "guest"), can(null, "account")], [["nameHint"], ["accountHint"]]);
  assert.deepEqual(from(true, true, "guest"), ["fromHere", "canGuest"]);
  assert.deepEqual(from(true, true, "account"), ["fromHere", "accountHint"]);
  assert.deepEqual(from(false, true, "guest"), ["fromElsewhere", "canGuest"]);
  assert.deepEqual(from(false, false, "account"), ["fromElsewhere", "canAccount", "accountHint"]);
  assert.deepEqual([can(null, "invitation"), from(false, false, "invitation")], [[], []]);
});
