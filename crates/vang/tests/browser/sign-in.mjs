// Somebody signs in with a password, stays signed in, and is signed out: by a person in another tab, and by an administrator.
//
//     node sign-in.mjs URL NODE_MODULES PICTURES NAME PASSWORD
//
// It prints the name of each act and waits for a line before the next; at `disable` the test disables the account.

import { createInterface } from "node:readline";
import assert from "node:assert/strict";
import { enter, isLive, say, screens, signIn, text, until } from "./screen.mjs";

const [url, modules, pictures, name, password] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const act = async (name) => (console.log(name), (await lines.next()).value);
const { browser, person, seen, wrong, server } = await screens(url, modules);
const picture = (page, name) => page.screenshot({ path: `${pictures}/sign-in-${name}.png` });
const me = (page) => page.locator(".me bdi").innerText();
const isAtStart = (page) => page.getByRole("heading", { name: "Come in" }).waitFor();
/** What a browser keeps, shows or sends along, and scripts can read. */
const kept = (page) => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state, document.body.innerHTML]));

const ada = await person("ada", { viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "light" });
await seen(ada, ada.getByRole("button", { name: "Guest" }));
await picture(ada, "guest");
await ada.fill("#name", name);
await ada.getByRole("button", { name: "Account" }).click();
await seen(ada, "Password");
assert.deepEqual(
  await ada.locator("form input").evaluateAll((fields) => fields.map(({ autocomplete, type, value }) => [autocomplete, type, value])),
  [["username", "text", name], ["current-password", "password", ""]],
);
await until("the password is next", () => ada.evaluate(() => document.activeElement.id === "password"));
await picture(ada, "account");

// A wrong password: the reason beside the field, and the password is typed over.
server.refuses = true;
await ada.keyboard.type("wrong-horse");
await ada.keyboard.press("Enter");
await seen(ada, ada.getByRole("alert").filter({ hasText: "The name or the password is wrong." }));
assert.equal(await ada.getAttribute("#password", "aria-invalid"), "true");
await picture(ada, "wrong");
server.refuses = false;

await ada.keyboard.type(password);
await ada.keyboard.press("Enter");
await isLive(ada);
assert.equal(await me(ada), name);
// It was told of the wrong one.
await seen(ada, text(ada, "one sign-in had a wrong password", false));
await picture(ada, "failed");
await ada.getByRole("button", { name: "Close" }).click();
await say(ada, "signed in");
await text(ada, "signed in").waitFor();
await picture(ada, "in");
assert(!(await kept(ada)).includes(password));
const [cookie] = await ada.context().cookies();
assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);

// A reload and a second tab enter without a question.
await ada.reload();
await isLive(ada);
assert.equal(await me(ada), name);
const tab = await ada.context().newPage();
await tab.goto(url);
await isLive(tab);
assert.equal(await me(tab), name);
await until("both are counted", async () => (await tab.locator(".people small").allInnerTexts()).includes("×2"));
await act("in two tabs");

// Signing out ends both; only the other one is told why.
await tab.getByRole("button", { name: "Sign out" }).click();
await Promise.all([isAtStart(tab), isAtStart(ada)]);
assert.equal(await tab.locator(".why").innerText(), "");
await seen(ada, text(ada, "This browser was signed out", false));
assert.equal(await ada.inputValue("#name"), name);
assert.equal(await ada.locator(".message").count(), 0);
await picture(ada, "out");
assert.deepEqual(await ada.context().cookies(), []);
await tab.reload();
await isAtStart(tab);
await tab.close();

// With the account's name a guest comes to its password.
await ada.getByRole("button", { name: "Guest" }).click();
await enter(ada, name);
await seen(ada, text(ada, `${name} is the name of an account.`, false));
await picture(ada, "name-of-an-account");
await signIn(ada, name, password);
await isLive(ada);
await say(ada, "/sign-out");
await isAtStart(ada);
await signIn(ada, name, password);
await isLive(ada);

// A phone in Vietnamese at night.
const binh = await person("bình", { viewport: { width: 360, height: 640 }, locale: "vi-VN", colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
await picture(binh, "guest-phone");
await binh.getByRole("button", { name: "Tài khoản" }).click();
await seen(binh, "Mật khẩu");
server.refuses = true;
await signIn(binh, name, "sai");
await seen(binh, binh.getByRole("alert").filter({ hasText: "Sai tên hoặc mật khẩu." }));
server.refuses = false;
await picture(binh, "wrong-phone");
assert.equal(await binh.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
await signIn(binh, name, password);
await isLive(binh);
await picture(binh, "in-phone");

// An administrator disables the account.
await act("disable");
await Promise.all([isAtStart(ada), binh.getByRole("heading", { name: "Mời vào" }).waitFor()]);
await seen(ada, text(ada, "This browser was signed out", false));
await picture(binh, "out-phone");
server.refuses = true;
await signIn(ada, name, password);
await seen(ada, ada.getByRole("alert").filter({ hasText: "This account is disabled." }));
await picture(ada, "disabled");
assert(!(await kept(ada)).includes(password));

assert.deepEqual(wrong, []);
await browser.close();
console.log("well");
