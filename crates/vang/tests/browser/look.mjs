// Two people use the page in the system's Chromium, while the server is killed and restarted; checks their screens.
//
//     node look.mjs URL NODE_MODULES PICTURES
//
// It prints the name of each act and waits for a line before the next: between acts the test in main.rs does its part.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";
import { encodings } from "../../../../web/tests/encodings.mjs";

const [url, modules, pictures] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const act = async (name) => (console.log(name), (await lines.next()).value);
const HOSTILE = `<img src=x onerror="window.hacked = true"><script>window.hacked = true</script> &amp; **x**`;

const browser = await launch(modules);
const blank = await (await browser.newContext()).newPage(); // decodes pictures; loads nothing
const wrong = []; // what no page may say
let isDown = false; // then a browser complains of the server, rightly

/** A page of one person; from here on everything that goes wrong on it is known. */
async function person(name, options) {
  const context = await browser.newContext(options);
  await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const note = (what) => wrong.push(`${name}: ${what}`);
  page.on("pageerror", (error) => note(error.stack));
  page.on("requestfailed", (request) => note(`${request.url()} ${request.failure().errorText}`));
  page.on("request", (request) => request.url().startsWith(url) || request.url().startsWith("data:") || note(`asked ${request.url()}`));
  page.on("console", (message) => {
    const ofServer = isDown && /^WebSocket connection to '.*\/ws' failed/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !ofServer) note(message.text());
  });
  await page.goto(url);
  return page;
}

/** The last that says this on the screen; what is only read out is not there. */
const text = (page, what, exact = true) => page.getByText(what, { exact }).and(page.locator(":not(.offstage, .offstage *)")).last();

/** Fails unless a person would see this: inside the window, uncovered, in a colour that stands out, as ink. */
async function seen(page, what) {
  const element = typeof what === "string" ? text(page, what) : what;
  await element.waitFor({ state: "visible" });
  const found = await element.evaluate((element) => {
    const box = element.getBoundingClientRect();
    const at = document.elementFromPoint(box.x + Math.min(box.width / 2, 20), box.y + box.height / 2);
    const rgb = (color) => color.match(/[\d.]+/g).map(Number);
    let behind = element;
    while (behind.parentElement && (rgb(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
    const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map((color) => light(rgb(color)));
    return {
      isInside: box.width > 0 && box.height > 0 && box.x >= 0 && box.y >= 0 && box.right <= innerWidth + 1 && box.bottom <= innerHeight + 1,
      isOnTop: element === at || element.contains(at) || Boolean(at?.contains(element)),
      contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
      box,
    };
  });
  const about = `${await element.textContent()}: ${JSON.stringify(found)}`;
  assert(found.isInside && found.isOnTop, about);
  assert(found.contrast >= 4.5, about);
  const ink = await inkOf((await element.screenshot()).toString("base64"));
  assert(ink > 0.002 && ink < 0.7, `${ink} of it is ink: ${about}`);
}

/** How much of a picture differs clearly from its commonest colour. */
function inkOf(picture) {
  return blank.evaluate(async (picture) => {
    const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    canvas.drawImage(bitmap, 0, 0);
    const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
    const counts = new Map();
    for (let i = 0; i < data.length; i += 4) {
      const color = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      counts.set(color, (counts.get(color) ?? 0) + 1);
    }
    const [paper] = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most));
    const differs = (color) => [16, 8, 0].reduce((sum, shift) => sum + Math.abs(((color >> shift) & 255) - ((paper >> shift) & 255)), 0) > 120;
    let ink = 0;
    for (const [color, count] of counts) if (differs(color)) ink += count;
    return ink / (data.length / 4);
  }, picture);
}

const enter = async (page, name) => {
  await page.fill("#name", name);
  await page.keyboard.press("Enter");
};
const say = async (page, text) => {
  await page.fill("#text", text);
  await page.locator(".composer button").click();
};
/** Texts of the messages in the log, as a person would read them from top to bottom. */
const shown = (page) => page.locator(".log .message:not(.own) .text").allInnerTexts();
const isLive = (page) => page.locator(".link.live").waitFor();
const isAtEnd = (page) => page.locator(".log").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2);
const until = async (what, check) => {
  for (const end = Date.now() + 20_000; !(await check()); ) assert(Date.now() < end, `never: ${what}`);
};

// Act 1: two people come in, one at a desk in English, one with a phone in Vietnamese at night.
const ada = await person("ada", { viewport: { width: 1000, height: 640 }, locale: "en-GB", timezoneId: "Asia/Ho_Chi_Minh", colorScheme: "light" });
const binh = await person("bình", { viewport: { width: 360, height: 640 }, locale: "vi-VN", timezoneId: "Asia/Ho_Chi_Minh", colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
assert.deepEqual([await ada.getAttribute("html", "lang"), await binh.getAttribute("html", "lang")], ["en", "vi"]);
await seen(ada, "Your name");
await seen(binh, "Tên của bạn");
await ada.screenshot({ path: `${pictures}/door.png` });
await enter(ada, "not a name");
await seen(ada, ada.getByRole("alert").filter({ hasText: "The server refused: " }));
await Promise.all([enter(ada, "ada"), enter(binh, "Bình")]);
await Promise.all([isLive(ada), isLive(binh)]);
await Promise.all([seen(ada, "Connected"), seen(binh, "Đã kết nối")]);

// Earlier messages: the newest page, and older ones while scrolling up, to the beginning.
await until("the newest page", async () => (await shown(ada)).length === 100);
assert.equal(await isAtEnd(ada), true);
await seen(ada, "before 250");
await until("the beginning", async () => {
  await ada.locator(".log").evaluate((log) => (log.scrollTop = 0));
  return (await shown(ada)).length === 250;
});
assert.deepEqual(await shown(ada), Array.from({ length: 250 }, (_, i) => `before ${i + 1}`));
await ada.locator(".log").evaluate((log) => (log.scrollTop = 0));
await seen(ada, "This is where #general begins.");
await seen(ada, "before 1");

// Act 2: they write. A reader of older messages is notified of new ones, and the page does not scroll.
await say(binh, "Xin chào! 你好");
const unread = ada.getByRole("button", { name: "1 new message" });
await seen(ada, unread);
await seen(ada, "before 1");
await unread.click();
await seen(ada, "Xin chào! 你好");
await seen(ada, "New");
await say(ada, HOSTILE);
await Promise.all([seen(ada, HOSTILE), text(binh, HOSTILE).waitFor()]);
await say(binh, "W".repeat(200));
await ada.locator("#text").focus();
await ada.keyboard.type("first line");
await ada.keyboard.press("Shift+Enter");
await ada.keyboard.type("second");
await ada.keyboard.press("Enter");
await text(binh, "second", false).waitFor();
for (const page of [ada, binh]) {
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator(".log img, .log script, .log b, .log strong").count(), 0);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "nothing stands beyond the window's side");
  assert.equal(await page.locator(".log").evaluate((log) => log.scrollWidth > log.clientWidth), false);
  await until("its end", () => isAtEnd(page));
}
await act("talked"); // the test sends latin-1, an image, and words from the shell
await Promise.all([ada, binh].map((page) => text(page, "from the shell").waitFor()));
await seen(ada, "café");
await seen(ada, "image/png, 4 bytes");
await ada.locator("time").last().evaluate((time) => {
  const local = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "Asia/Ho_Chi_Minh" }).format(new Date(time.dateTime));
  if (time.textContent !== local || !/ · general#\d+$/.test(time.title)) throw new Error(`${time.textContent}, not ${local}; ${time.title}`);
});
await ada.screenshot({ path: `${pictures}/light.png` });
await binh.screenshot({ path: `${pictures}/dark.png` });

// Act 3: kill -9. They continue to write; the page shows the state of their messages.
isDown = true;
await act("kill");
await Promise.all([ada.locator(".link.waiting").waitFor(), binh.locator(".link.waiting").waitFor()]);
await say(ada, "written while it was down");
await say(binh, "viết khi mất kết nối");
await seen(ada, ada.locator(".link .words"));
await seen(ada, "not connected; it will be sent");
await ada.screenshot({ path: `${pictures}/down.png` });
// One reload in between: unsent messages are still there.
await binh.evaluate(() => new Promise((done) => setTimeout(done)));
await act("restart"); // on the same port and data; and words from the shell, before and after we are back
await Promise.all([isLive(ada), isLive(binh)]);
isDown = false;
await act("back");
for (const page of [ada, binh]) {
  await text(page, "after the restart 3").waitFor();
  await until("nothing waits", async () => (await page.locator(".own").count()) === 0);
}
await seen(ada, "after the restart 3");
const [hers, his] = [await shown(ada), await shown(binh)];

// Act 4: small things. A reload keeps the name; the language changes at a press; the keyboard reaches all of it.
await ada.reload();
await isLive(ada);
await until("the newest page", async () => (await shown(ada)).length === 100);
assert.deepEqual(await shown(ada), hers.slice(-100));
await ada.getByRole("button", { name: "Tiếng Việt" }).click();
await seen(ada, "Đã kết nối");
assert.equal(await ada.getAttribute("html", "lang"), "vi");
const stops = [];
await ada.locator("body").evaluate(() => document.activeElement.blur());
for (let i = 0; i < 8; i += 1) {
  await ada.keyboard.press("Tab");
  stops.push(await ada.evaluate(() => {
    const { activeElement: at } = document;
    return [at.id || at.getAttribute("role") || at.textContent, parseFloat(getComputedStyle(at).outlineWidth) >= 2].join(" ");
  }));
}
for (const stop of ["Đổi tên true", "English true", "log true", "text true", "Gửi true"]) assert(stops.includes(stop), `${stop}: ${stops}`);
assert.equal(await ada.locator("#text").getAttribute("placeholder"), "Nhắn tới #general");

// The encodings as this browser has them, against the vectors.
const vectors = readFileSync(new URL("../../../proto/vectors/encodings.txt", import.meta.url), "utf8").split("\n").filter((line) => /^(decode|charmap)/.test(line));
const read = await ada.evaluate(`(${encodings})(${JSON.stringify(vectors)}, ["/", ""])`);

assert.deepEqual(wrong, []);
await browser.close();
console.log(JSON.stringify({ hers, his, read }));
