// A browser on another machine, which has been shown the warning about the certificate and went on.
//
//     node elsewhere.mjs CLOSED-URL OPEN-URL NODE_MODULES PICTURES

import assert from "node:assert/strict";
import { enter, isLive, screens, text } from "./screen.mjs";

const [closed, open, modules, pictures] = process.argv.slice(2);
const options = { viewport: { width: 1280, height: 800 }, ignoreHTTPSErrors: true, locale: "en-GB" };

for (const [url, who, rule] of [[closed, "You need an account: this server admits no guests from here", "the server admits no guests"], [open, "Choose any name", "the server admits guests from everywhere"]]) {
  const { browser, person, seen, wrong } = await screens(url, modules);
  const page = await person("eve", options);
  await seen(page, "You come from another machine.");
  await seen(page, text(page, who, false));
  const warning = text(page, "Your browser warned you because this server made its own certificate", false);
  await seen(page, warning);
  assert.match(await warning.innerText(), new RegExp(rule));
  await page.screenshot({ path: `${pictures}/elsewhere-${url === open ? "open" : "closed"}.png` });
  if (url === open) {
    await enter(page, "eve");
    await isLive(page);
  } else {
    assert.equal(await page.locator("#password").count(), 1, "nobody types a guest's name for nothing");
    assert.equal(await page.getByRole("button", { name: "Guest" }).count(), 0);
  }
  const binh = await person("bình", { ...options, locale: "vi-VN", viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await seen(binh, "Bạn đến từ một máy khác.");
  await seen(binh, text(binh, "Trình duyệt cảnh báo vì máy chủ tự tạo chứng chỉ", false));
  await binh.screenshot({ path: `${pictures}/elsewhere-${url === open ? "open" : "closed"}-phone.png` });
  assert.deepEqual(wrong, []);
  await browser.close();
}
console.log("well");
