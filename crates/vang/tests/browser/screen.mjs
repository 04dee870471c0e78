// What the page's tests in Chromium share: people with a browser each, and what they see on their screens.

import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";

export const until = async (what, check) => {
  for (const end = Date.now() + 60_000; !(await check()); ) assert(Date.now() < end, `never: ${what}`);
};

/** The last that says this on the screen; what is only read out is not there. */
export const text = (page, what, exact = true) => page.getByText(what, { exact }).and(page.locator(":not(.offstage, .offstage *)")).last();

export const enter = async (page, name) => {
  await page.locator("#name[autocomplete=nickname]").waitFor(); // until then the account's field has the name
  await page.fill("#name", name);
  await page.keyboard.press("Enter");
};
/** From the start view, or the form with a name and a password. */
export const signIn = async (page, name, password) => {
  if (!(await page.locator("#password").count())) await page.locator(".ways [value=account]").click();
  await page.locator("#password").waitFor(); // until then the guest's field has the name
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.keyboard.press("Enter");
};
export const say = async (page, text) => {
  await page.fill("#text", text);
  await page.locator(".composer button").click();
};
/** Texts of the messages in the log, as a person would read them from top to bottom. */
export const shown = (page) => page.locator(".log .message:not(.own) .text").allInnerTexts();
export const isLive = (page) => page.locator(".link.live").waitFor();
export const isAtEnd = (page) => page.locator(".log").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2);

/** Chromium, and pages of this server in it. */
export async function screens(url, modules) {
  const browser = await launch(modules);
  const blank = await (await browser.newContext()).newPage(); // decodes pictures; loads nothing
  const wrong = []; // what no page may say
  const server = { isDown: false, refuses: false }; // then a browser complains of the server, rightly

  /** A page of one person, opened at this fragment; from here on everything that goes wrong on it is known. */
  async function person(name, options, fragment = "") {
    const context = await browser.newContext(options);
    await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const note = (what) => wrong.push(`${name}: ${what}`);
    const ours = [url, "data:", `blob:${new URL(url).origin}/`];
    page.on("pageerror", (error) => note(error.stack));
    page.on("requestfailed", (request) => (server.isDown && request.url() === `${url}session`) || note(`${request.url()} ${request.failure().errorText}`));
    page.on("request", (request) => ours.some((start) => request.url().startsWith(start)) || note(`asked ${request.url()}`));
    page.on("console", (message) => {
      const isDown = server.isDown && /^WebSocket connection to '.*\/ws' failed|^Failed to load resource: net::/.test(message.text());
      const ofServer = isDown || (server.refuses && /^Failed to load resource: .* status of 4\d\d/.test(message.text()));
      if (["error", "warning"].includes(message.type()) && !ofServer) note(message.text());
    });
    await page.goto(url + fragment);
    return page;
  }

  /** Fails unless a person would see this: inside the window, uncovered, in a colour that stands out, as ink. */
  async function seen(page, what) {
    const element = typeof what === "string" ? text(page, what) : what;
    await element.waitFor({ state: "visible" });
    const found = await element.evaluate((element) => {
      const box = element.getBoundingClientRect();
      const at = document.elementFromPoint(box.x + Math.min(box.width / 2, 20), box.y + box.height / 2);
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      // Whatever the colour is written as.
      const rgb = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
      };
      let behind = element;
      while (behind.parentElement && rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
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

  return { browser, person, seen, wrong, server };
}
