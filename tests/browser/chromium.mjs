// Chromium as Debian has it (TC_CHROMIUM: another one), without a window and without calls home.
import { chromium } from "playwright-core";

export const CHROMIUM = process.env.TC_CHROMIUM ?? "/usr/bin/chromium";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
