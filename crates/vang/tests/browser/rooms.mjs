// Rooms, people, commands, links, pictures and files, on a desk in English and on a phone in Vietnamese at night.
//
//     node rooms.mjs URL NODE_MODULES PICTURES PASSWORD
//
// ada is an account with the password of the last argument. At `in lab` the test sends files there, whose contents come back.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { enter, isAtEnd, isLive, say, screens, shown, signIn, text, until } from "./screen.mjs";

const [url, modules, pictures, password] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const act = async (name) => (console.log(name), (await lines.next()).value);
const { browser, person, seen, wrong } = await screens(url, modules);
const picture = (page, name) => page.screenshot({ path: `${pictures}/${name}.png` });
const clearField = (page) => page.fill("#text", "");

// Who can do what is on the first page.
const ada = await person("ada", { viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "light" });
const binh = await person("bình", { viewport: { width: 390, height: 844 }, locale: "vi-VN", colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
await seen(ada, "You are on the server's own machine.");
await seen(binh, "Bạn đang ở trên chính máy chủ.");
await picture(ada, "first-page");
await picture(binh, "first-page-phone");
await Promise.all([signIn(ada, "ada", password), enter(binh, "Bình")]);
await Promise.all([isLive(ada), isLive(binh)]);

// A wide screen shows who is here; a phone shows it on request.
const people = (page) => page.locator(".people:not(.away) bdi").allInnerTexts();
await say(binh, "xin chào");
await until("both are here", async () => (await people(ada)).join() === "ada,Bình");
await seen(ada, "Here: 2");
await seen(ada, ada.locator(".people bdi").filter({ hasText: "Bình" }));
assert.equal(await binh.locator(".side").isVisible(), false);
await binh.getByRole("button", { name: "Phòng và người" }).click();
await seen(binh, "Đang ở đây: 2");
await seen(binh, "Chỉ tài khoản mới tạo được phòng. Hãy xin người quản trị một tài khoản.");
await picture(binh, "side-phone");
await binh.getByRole("button", { name: "Phòng và người" }).click();
await binh.locator(".side").waitFor({ state: "hidden" });

// A command that is not known is refused, and stays in the field; nothing is sent.
await say(ada, "/me waves");
await seen(ada, ada.getByRole("alert").filter({ hasText: "There is no /me; nothing was sent." }).locator("p"));
assert.equal(await ada.inputValue("#text"), "/me waves");
await picture(ada, "unknown-command");
await say(ada, "/help");
await seen(ada, "go to a room; an account becomes a member");
await picture(ada, "help");
await ada.keyboard.press("Escape");
await ada.locator(".note").waitFor({ state: "detached" });
await say(ada, "//me is a text");
await Promise.all([ada, binh].map((page) => text(page, "/me is a text").waitFor()));

// Links open elsewhere, and know nothing of this page; other texts are texts.
await say(ada, "see https://vang.example/a?b=1, javascript:alert(1)");
const link = binh.locator(".text a");
await link.waitFor();
assert.deepEqual(
  await link.evaluate((link) => [link.href, link.textContent, link.target, link.rel]),
  ["https://vang.example/a?b=1", "https://vang.example/a?b=1", "_blank", "noopener noreferrer"],
);
assert.equal(await binh.locator(".text a").count(), 1);
await seen(binh, link);

// A room: created, found on the other screen, entered there; the browser's way back leads back.
await ada.fill("#create", "lab");
await ada.getByRole("button", { name: "Create" }).click();
await until("ada is in the new room", async () => (await ada.title()) === "#lab – vang");
assert.equal(new URL(ada.url()).hash, "#lab");
await say(ada, "/topic pictures of everything");
await seen(ada, ada.locator("header .topic"));
await binh.getByRole("button", { name: "Phòng và người" }).click();
await binh.getByRole("button", { name: "#lab" }).click();
await binh.locator(".side").waitFor({ state: "hidden" });
await until("bình is in the room", async () => (await binh.title()) === "#lab – vang");
await say(binh, "xin chào, lab");
await until("ada sees bình", async () => (await people(ada)).join() === "ada,Bình");

// A guest cannot create one, and reads why in the own language.
await say(binh, "/create own");
await seen(binh, binh.getByRole("alert").locator("p"));
assert.match(await binh.getByRole("alert").innerText(), /khách không làm được việc này/);
await picture(binh, "refused-phone");
await binh.getByRole("button", { name: "Đóng" }).click();
await clearField(binh);

// Pictures are shown; other files are text, whatever they say; all can be saved as they were sent.
await act("in lab");
await text(ada, "after the files").waitFor();
const image = ada.locator(".picture img");
await until("the picture is drawn", () => image.evaluate((image) => image.complete && image.naturalWidth === 320));
assert.equal(await image.getAttribute("alt"), "Picture from carol, 320 × 200");
await seen(ada, `<svg xmlns="http://www.w3.org/2000/svg"><script>window.hacked = true</script></svg>`);
await seen(ada, text(ada, "tên,tuổi", false));
assert.equal(await ada.locator(".log img, .log svg").count(), 1);
assert.equal(await ada.evaluate(() => window.hacked), undefined);
await until("the end", () => isAtEnd(ada));
const saved = {};
for (const name of ["lab-2.png", "lab-3.txt", "lab-4.csv", "lab-5.bin"]) {
  const [download] = await Promise.all([ada.waitForEvent("download"), ada.getByRole("button", { name: `Save ${name}` }).click()]);
  assert.equal(download.suggestedFilename(), name);
  saved[name] = readFileSync(await download.path()).toString("hex");
}
await picture(ada, "files");
await image.scrollIntoViewIfNeeded();
await image.click();
await ada.locator(".picture.large").waitFor();
await image.click();
await until("bình has it, too", async () => (await binh.locator(".picture img").count()) === 1);
await binh.locator(".picture img").scrollIntoViewIfNeeded();
await picture(binh, "files-phone");
for (const page of [ada, binh]) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "nothing stands beyond the window's side");
  assert.equal(await page.locator(".log").evaluate((log) => log.scrollWidth > log.clientWidth), false);
}

await ada.goBack();
await until("ada is back", async () => (await ada.title()) === "#general – vang");
await text(ada, "xin chào").waitFor();
await ada.goForward();
await until("ada is there again", async () => (await shown(ada)).includes("after the files"));

// Another name; and one that the server refuses.
await say(binh, "/nick Minh");
await binh.locator(".me bdi").filter({ hasText: "Minh" }).waitFor();
await isLive(binh);
await say(binh, "Minh đây");
await until("bình is Minh", async () => (await people(ada)).join() === "ada,Minh");
await say(binh, "/nick -x");
await binh.getByRole("alert").filter({ hasText: "tên chỉ gồm chữ" }).waitFor();
await isLive(binh);
assert.equal(await binh.locator(".me bdi").innerText(), "Minh");

// Night at the desk.
await ada.emulateMedia({ colorScheme: "dark" });
await seen(ada, ada.locator(".log .name bdi").first());
await seen(ada, ada.locator(".people bdi").first());
await picture(ada, "files-dark");
await ada.emulateMedia({ colorScheme: "light" });
for (const name of await ada.locator(".people bdi").all()) await seen(ada, name);

assert.deepEqual(wrong, []);
await browser.close();
console.log(JSON.stringify(saved));
