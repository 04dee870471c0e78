// The system's Chromium, without services of its own that would use the network.

import { createRequire } from "node:module";

const options = {
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
};
const chromium = (modules) => createRequire(`${modules}/`)("playwright-core").chromium;

export const launch = (modules) => chromium(modules).launch(options);
/** A browser with a profile: without one, Chromium opens no connections in advance. */
export const launchWithProfile = (modules, folder) => chromium(modules).launchPersistentContext(folder, options);
