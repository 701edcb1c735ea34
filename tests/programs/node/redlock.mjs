// Redlock over one server: tasks that exclude each other. NAME: the lock's.
import Redis from "ioredis";
import Redlock from "redlock";
import { check, done, host, port, sleep } from "./common.mjs";

const redlock = new Redlock([new Redis({ host, port })], { retryCount: 1000, retryDelay: 10 });
let total = 0;
await Promise.all([...Array(5)].map(async () => {
  for (let round = 0; round < 10; round++) {
    const lock = await redlock.lock(process.env.NAME ?? "work", 5000);
    const before = total;
    await sleep(1);
    total = before + 1;
    await lock.extend(5000);
    await lock.unlock();
  }
}));
check("the total", total, 50);
const both = await redlock.lock(process.env.NAMES?.split(",") ?? ["one"], 1000);
await both.unlock();
done();
