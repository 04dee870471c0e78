// How much comes until the first message is shown, and at a reload; the test counts between server and browser.
//
//     node transfer.mjs URL NODE_MODULES
//
// It prints an act and waits for a line before the next.

import { createInterface } from "node:readline";
import assert from "node:assert/strict";
import { enter, screens } from "./screen.mjs";

const [url, modules] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const act = async (name) => (console.log(name), (await lines.next()).value);
const { browser, person, wrong } = await screens(url, modules);
const isThere = (page) => page.locator(".log .message .text").first().waitFor();

// What the page loads after the first message is held back until the bytes are counted.
let go;
const counted = new Promise((done) => (go = done));
const early = [];
const context = await browser.newContext({ locale: "en-GB" });
await context.route(/later\.js$/, async (route) => {
  if (!(await page.locator(".log .message").count())) early.push(route.request().url());
  await counted;
  await route.continue();
});
const page = await context.newPage();
await page.goto(url);
await enter(page, "ada");
await isThere(page);
await act("first message");
go();
await page.locator(".side").waitFor();
assert.deepEqual(early, []);
await context.close();

// A browser of its own cache: everything, then a reload.
const again = await person("ada", { locale: "en-GB" });
await enter(again, "ada");
await isThere(again);
await again.locator(".side").waitFor();
await act("all loaded");
await again.reload();
await isThere(again);
await again.locator(".side").waitFor();
await act("loaded again");
assert.deepEqual(wrong, []);
await browser.close();
console.log("well");
