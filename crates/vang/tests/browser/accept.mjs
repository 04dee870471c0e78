// People open links of invitations: one makes an account, one gets a password for an account that exists, one pastes the link.
//
//     node accept.mjs URL NODE_MODULES PICTURES PASSWORD CODE OTHER_CODE CODE_OF_ADA CODE_OF_BOB

import assert from "node:assert/strict";
import { isLive, say, screens, text, until } from "./screen.mjs";

const [url, modules, pictures, password, code, other, codeOfAda, codeOfBob] = process.argv.slice(2);
const codes = [code, other, codeOfAda, codeOfBob];
const { browser, person, seen, wrong, server } = await screens(url, modules);
const picture = (page, name) => page.screenshot({ path: `${pictures}/accept-${name}.png` });
const me = (page) => page.locator(".me bdi").innerText();
const hasFocus = (page, id) => until(`the field ${id} has the focus`, () => page.evaluate((id) => document.activeElement.id === id, id));
const alert = (page, text) => seen(page, page.getByRole("alert").filter({ hasText: text }));
/**
 * No code and no password is kept or shown where scripts can read it, or a person who goes back or reloads. With which address the
 * document began, Chromium tells the page's own scripts until it is loaded again (PerformanceNavigationTiming).
 */
const keepsNoSecret = async (page) => {
  const kept = await page.evaluate(() => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.URL, history.state, document.documentElement.outerHTML,
    navigation.entries().map(({ url }) => url), performance.getEntriesByType("resource").map(({ name }) => name),
  ]));
  for (const secret of [password, ...codes]) assert(!kept.includes(secret), kept);
};
const fill = async (page, name, password) => {
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.keyboard.press("Enter");
};

// The link is opened: the form is there, and the code nowhere.
const eve = await person("eve", { viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "light" }, `#invite=${code}`);
await seen(eve, "You are invited");
assert.equal(eve.url(), url);
await keepsNoSecret(eve);
assert.deepEqual(
  await eve.locator("form input").evaluateAll((fields) => fields.map(({ id, autocomplete, type }) => [id, autocomplete, type])),
  [["name", "username", "text"], ["password", "new-password", "password"]],
);
await hasFocus(eve, "name");
await picture(eve, "form");
server.refuses = true;
await fill(eve, "ada", password);
await alert(eve, "This name is taken.");
await hasFocus(eve, "name");
assert.equal(await eve.getAttribute("#name", "aria-invalid"), "true");
await picture(eve, "taken");
await fill(eve, "eve", "password");
await alert(eve, "This password is too short, or one of those that are guessed first.");
await hasFocus(eve, "password");
await eve.getByRole("button", { name: "Show the password" }).click();
await picture(eve, "weak");
server.refuses = false;
await fill(eve, "eve", password);
await isLive(eve);
assert.equal(await me(eve), "eve");
await say(eve, "I am in");
await text(eve, "I am in").waitFor();
await keepsNoSecret(eve);
const [cookie] = await eve.context().cookies();
assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
await eve.reload();
await isLive(eve);
assert.equal(await me(eve), "eve");

// Whoever is signed in is asked. A second use is refused, and the form takes another link.
const tab = await eve.context().newPage();
await tab.goto(url);
await isLive(tab);
const openAgain = async () => {
  await eve.goto(`${url}#invite=${code}`);
  await seen(eve, "This browser is signed in as eve.");
  await keepsNoSecret(eve);
};
await openAgain();
await picture(eve, "signed-in");
await eve.getByRole("button", { name: "Go on as eve" }).click();
await isLive(eve);
await openAgain();
await eve.getByRole("button", { name: "Use the invitation" }).click();
await seen(eve, "If you use the invitation, eve is signed out of this browser.");
server.refuses = true;
await fill(eve, "grace", password);
await alert(eve, "This invitation cannot be used:");
await hasFocus(eve, "code");
await picture(eve, "used");
server.refuses = false;
assert.equal(await me(tab), "eve", "nothing has changed");
await eve.fill("#code", ` ${url}#invite=${codeOfAda}\n`);
await fill(eve, "ada", password);
await isLive(eve);
assert.equal(await me(eve), "ada");
await seen(tab, text(tab, "This browser is signed in as ada now."));
await keepsNoSecret(eve);

// A link that says whose it is asks for a password alone.
const bob = await person("bob", { viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "dark" }, `#invite=${codeOfBob}&name=bob`);
await seen(bob, "Set your password");
await hasFocus(bob, "password");
assert.equal(await bob.inputValue("#name"), "bob");
await picture(bob, "owner");
await bob.keyboard.type(password);
await bob.keyboard.press("Enter");
await isLive(bob);
assert.equal(await me(bob), "bob");
await keepsNoSecret(bob);

// A phone in Vietnamese at night: from the account's form, with a link that is pasted.
const binh = await person("bình", { viewport: { width: 360, height: 640 }, locale: "vi-VN", colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
const fits = async () => assert.equal(await binh.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
await binh.getByRole("button", { name: "Tài khoản" }).click();
await binh.getByRole("button", { name: "Tôi có lời mời" }).click();
await seen(binh, "Bạn được mời");
await hasFocus(binh, "code");
await fits();
await picture(binh, "form-phone");
await binh.getByRole("button", { name: "Vào bằng cách khác" }).click();
await seen(binh, binh.getByRole("heading", { name: "Mời vào" }));
await binh.getByRole("button", { name: "Tài khoản" }).click();
await binh.getByRole("button", { name: "Tôi có lời mời" }).click();
server.refuses = true;
await binh.fill("#code", code);
await fill(binh, "bình", password);
await alert(binh, "Không dùng được lời mời này:");
await fits();
await picture(binh, "used-phone");
server.refuses = false;
await binh.fill("#code", `${url}#invite=${other}`);
await fill(binh, "bình", password);
await isLive(binh);
assert.equal(await me(binh), "bình");
await keepsNoSecret(binh);

assert.deepEqual(wrong, []);
await browser.close();
console.log("well");
