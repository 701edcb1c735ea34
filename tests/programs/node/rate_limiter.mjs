// rate-limiter-flexible, over ioredis and over node-redis: points, blocks, penalties.
import Redis from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { createClient } from "redis";
import { check, done, host, port } from "./common.mjs";

const node = await createClient({ socket: { host, port } }).connect();
for (const [name, client] of [["io", new Redis({ host, port })], ["node", node]]) {
  const useRedisPackage = name === "node";
  const limiter = new RateLimiterRedis({ storeClient: client, useRedisPackage, keyPrefix: name, points: 5, duration: 30 });
  const asked = await Promise.allSettled([...Array(8)].map(() => limiter.consume("me")));
  check("those let in", asked.filter((one) => one.status === "fulfilled").length, 5);
  await limiter.penalty("you", 2);
  check("what is left", (await limiter.get("you")).remainingPoints, 3);
  await limiter.reward("you", 1);
  await limiter.block("you", 10);
  check("reset", await limiter.delete("you"), true);
}
done();
