// Chromium opens a connection to the server before it needs it. The server answers its silence with a line and closes it;
// afterwards the page, fetch and the WebSocket work, and the line is nowhere an answer.
//
//     node preconnect.mjs URL NODE_MODULES PROFILE
//
// It prints `connected` and waits for a line: until the server has closed that connection.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import assert from "node:assert/strict";
import { launchWithProfile } from "./chromium.mjs";

const [url, modules, profile] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const origin = new URL(url).origin;

// A page of another server, which announces that it will need ours.
const other = createServer((_, answer) => {
  answer.setHeader("Content-Type", "text/html");
  answer.end(`<!doctype html><title>other</title><link rel="preconnect" href="${origin}"><a href="${url}">go</a>`);
});
await new Promise((ready) => other.listen(0, "127.0.0.1", ready));

const browser = await launchWithProfile(modules, profile);
const page = await browser.newPage();
page.setDefaultTimeout(20_000);
const wrong = [];
page.on("pageerror", (error) => wrong.push(error.stack));
page.on("requestfailed", (request) => wrong.push(`${request.url()} ${request.failure().errorText}`));
page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));

await page.goto(`http://127.0.0.1:${other.address().port}/`);
console.log("connected");
await lines.next();

// A navigation to the origin that the spare connection was for.
const [answer] = await Promise.all([page.waitForResponse(url), page.click("a")]);
assert.equal(answer.status(), 200);
assert.match(answer.headers()["content-type"], /^text\/html/);
await page.locator("#name").waitFor();
assert.doesNotMatch(await page.content(), /nothing came for/);

// The same with requests of the page, one after another.
const asked = await page.evaluate(async () => {
  const answers = [];
  for (let i = 0; i < 3; i += 1) {
    const answer = await fetch("/healthz", { cache: "no-store" });
    answers.push([answer.status, await answer.text()]);
  }
  return answers;
});
assert.deepEqual(asked, Array(3).fill([200, "ok\n"]));

// And the WebSocket.
await page.fill("#name", "ada");
await page.keyboard.press("Enter");
await page.locator(".link.live").waitFor();
assert.deepEqual(wrong, []);
await browser.close();
other.close();
console.log("well");
