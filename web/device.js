// What the owner of an account sees in the list of devices: "Firefox on Linux".

const BYTES_MAX = 128; // of the server

const BROWSERS = [
  ["Edg", "Edge"], ["OPR", "Opera"], ["SamsungBrowser", "Samsung Internet"], ["FxiOS", "Firefox"], ["Firefox", "Firefox"],
  ["CriOS", "Chrome"], ["Chrome", "Chrome"], ["Version", "Safari"],
];
const SYSTEMS = [
  ["iPhone", "iPhone"], ["iPad", "iPad"], ["Android", "Android"], ["CrOS", "ChromeOS"], ["Windows", "Windows"],
  ["Mac OS X", "macOS"], ["Linux", "Linux"],
];

/** Of `navigator`: only what it says itself; null if that is nothing known. */
export function deviceOf({ userAgentData, userAgent = "", maxTouchPoints = 0 }) {
  const find = (list, mark) => list.find(([word]) => userAgent.includes(word + mark))?.[1];
  // A list of brands has one that nobody has, "Not A;Brand" or the like, and the engine beside the browser.
  const brands = (userAgentData?.brands ?? []).map(({ brand }) => brand).filter((brand) => !/not.*brand/i.test(brand));
  const browser = brands.find((brand) => brand !== "Chromium") ?? brands[0] ?? find(BROWSERS, "/");
  let system = userAgentData?.platform || find(SYSTEMS, "");
  // An iPad says that it is a Mac, which has no touch screen.
  if (system === "macOS" && !userAgentData && maxTouchPoints > 1) system = "iPad";
  const text = [browser, system].filter(Boolean).join(" on ");
  return text ? cut(text) : null;
}

function cut(text) {
  let kept = "";
  for (const character of text) {
    if (new TextEncoder().encode(kept + character).length > BYTES_MAX) break;
    kept += character;
  }
  return kept;
}
