// The status page in a real browser. Arguments: the proxy's port, the debug address, a folder for screenshots.
// The test that started this one kills a master when it is told KILL.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [, , , address, folder] = process.argv;
const origin = `http://${address}`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
const page = await context.newPage();
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("dialog", (dialog) => { complaints.push("a dialog: " + dialog.message()); dialog.dismiss(); });
page.on("request", (request) => {
  if (!request.url().startsWith(origin + "/") && !request.url().startsWith("data:")) complaints.push("asked for " + request.url());
});
const step = (text) => console.log(text);
const text = (selector) => page.locator(selector).innerText();
/** Waits until the condition holds of the page; says what there was if it does not. */
async function until(what, condition, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    if (await condition()) return step(`${what}: ok`);
    if (Date.now() > end) {
      await page.screenshot({ path: `${folder}/failed.png`, fullPage: true });
      throw new Error(`${what}: not within ${seconds} s\n${await text("body")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

await page.goto(origin + "/");
await until("it is ready", async () => (await text("#state")) === "ready");
await until("it says that nothing is wrong", async () => /Nothing is wrong/.test(await text("#findings")));
await until("operations are counted", async () => !/^0\s*operations/.test(await text("#numbers")));
const first = await text("#numbers");
await until("the numbers move", async () => (await text("#numbers")) !== first);
await until("there are graphs", async () => (await page.locator("#g-ops polyline").getAttribute("points"))?.split(" ").length > 2);
assert.equal(await page.locator("#shards .card").count(), 3);
assert.equal(await page.locator("#slots rect:not(.moved)").count(), 3);

await page.fill("#key", "foo");
assert.match(await text("#found"), /^slot 12182, master 127\.0\.0\.1:\d+$/);
await page.fill("#key", "user:{foo}:cart");
assert.match(await text("#found"), /^slot 12182, /);
step("the search finds the slot: ok");

const script = "<script>alert(1)</script>";
await until("a key that is a script stays text", async () => (await text("#hotkeys")).includes(script));
assert.equal(await page.locator("#hotkeys script").count(), 0);
await until("a library is shown", async () => (await text("#libraries")).includes("page-test 1.0"));

// By the keyboard alone: a table is sorted by its head's button.
await page.locator("#commands th button").first().focus();
await page.keyboard.press("Enter");
assert.equal(await page.evaluate(() => document.activeElement.textContent), "command");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
console.log("ERRORS");
await lines.next();
await until("errors are named with their command", async () => /errors\/s: ERR \(incr\)/.test(await text("#findings")));
console.log("SLOW");
const slow = (await lines.next()).value;
await until("the slow node is named", async () => (await text("#findings")).includes(`master ${slow} is slow`));
await until("its card stands out", async () => (await text(".card.outlier")).includes(slow));
await page.screenshot({ path: `${folder}/top.png`, clip: { x: 0, y: 0, width: 1280, height: 880 }, scale: "css" });
await page.screenshot({ path: `${folder}/light.png`, fullPage: true });
await page.emulateMedia({ colorScheme: "dark" });
await page.screenshot({ path: `${folder}/dark.png`, fullPage: true });
await page.emulateMedia({ colorScheme: "light" });
await page.setViewportSize({ width: 390, height: 844 });
await page.screenshot({ path: `${folder}/phone.png`, fullPage: true });
const wide = await page.evaluate(() => document.documentElement.scrollWidth);
assert.ok(wide <= 390, `the page is ${wide} pixels wide`);
await page.setViewportSize({ width: 1280, height: 900 });

console.log("KILL");
const killed = (await lines.next()).value;
await until("the dead master is told of", async () => (await text("#findings")).includes(`${killed} is down`));
await until("its slots are red", async () => (await page.locator("#slots rect.down").count()) === 1);
await until("its card is red", async () => (await text(".card.down")).includes(killed));
await page.screenshot({ path: `${folder}/down.png`, fullPage: true });
await until("the promotion is among the events", async () => new RegExp(`failover: .* from ${killed}`).test(await text("#events")), 60);
await until("every slot is served again", async () => (await text("#slots-text")).startsWith("16384 of 16384"));
assert.equal(await page.locator("#slots rect.down").count(), 0);

assert.deepEqual(complaints, []);
step("no error in the console, no request to anywhere else: ok");
await browser.close();
process.exit(0);
