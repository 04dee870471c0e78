// Two people use the page in the system's Chromium, while the server is killed and restarted; checks their screens.
//
//     node look.mjs URL NODE_MODULES PICTURES
//
// It prints the name of each act and waits for a line before the next: between acts the test in main.rs does its part.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { enter, isAtEnd, isLive, say, screens, shown, text, until } from "./screen.mjs";
import { encodings } from "../../../../web/tests/encodings.mjs";

const [url, modules, pictures] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const act = async (name) => (console.log(name), (await lines.next()).value);
const HOSTILE = `<img src=x onerror="window.hacked = true"><script>window.hacked = true</script> &amp; **x**`;

const { browser, person, seen, wrong, server } = await screens(url, modules);

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
server.isDown = true;
await act("kill");
await Promise.all([ada.locator(".link.waiting").waitFor(), binh.locator(".link.waiting").waitFor()]);
await say(ada, "written while it was down");
await say(binh, "viết khi mất kết nối");
await seen(ada, ada.locator(".link .words"));
await seen(ada, "not connected; it will be sent");
await ada.screenshot({ path: `${pictures}/down.png` });
await act("restart"); // on the same port and data; and words from the shell, before and after we are back
await Promise.all([isLive(ada), isLive(binh)]);
server.isDown = false;
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
for (let i = 0; i < 14; i += 1) {
  await ada.keyboard.press("Tab");
  stops.push(await ada.evaluate(() => {
    const { activeElement: at } = document;
    return [at.id || at.getAttribute("role") || at.textContent, parseFloat(getComputedStyle(at).outlineWidth) >= 2].join(" ");
  }));
}
for (const stop of ["Đổi tên true", "English true", "create true", "log true", "text true", "Gửi true"]) assert(stops.includes(stop), `${stop}: ${stops}`);
assert.equal(await ada.locator("#text").getAttribute("placeholder"), "Nhắn tới #general");

// The encodings as this browser has them, against the vectors.
const vectors = readFileSync(new URL("../../../proto/vectors/encodings.txt", import.meta.url), "utf8").split("\n").filter((line) => /^(decode|charmap)/.test(line));
const read = await ada.evaluate(`(${encodings})(${JSON.stringify(vectors)}, [${JSON.stringify(await ada.getAttribute("script", "src"))}, ""])`);

assert.deepEqual(wrong, []);
await browser.close();
console.log(JSON.stringify({ hers, his, read }));
