// What the programs share: where the server is, a deadline, and the last word.
import { setTimeout as sleep } from "node:timers/promises";

export const port = Number(process.env.PORT);
export const host = "127.0.0.1";
export { sleep };

export function check(what, found, expected) {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: assert ${left} is ${right}`);
}

export async function waitFor(what, ask, limit = 30_000) {
  for (const end = Date.now() + limit; Date.now() < end; await sleep(50)) {
    if (await ask()) return;
  }
  throw new Error(`waited in vain for ${what}`);
}

export function done() {
  console.log("ok");
  process.exit(0);
}

for (const kind of ["uncaughtException", "unhandledRejection"]) {
  process.on(kind, (error) => {
    console.log(error);
    process.exit(1);
  });
}
