// ioredis through the proxy, as an application uses it: `new Redis(port)`, no cluster client.
//
// usage: ioredis.mjs PORT

import { Redis } from "ioredis";
import { check, failover, port, sleep, tls } from "./harness.mjs";

const connect = (options = {}) => new Redis(port, tls ? { tls, ...options } : options);
const numbers = [...Array(500).keys()];

async function basics(r) {
  check("set", await r.set("io:a", "1"), "OK");
  check("incr", await r.incrby("io:a", 41), 42);
  const keys = numbers.map((number) => `io:key:${number}`);
  check("mset over all slots", await r.mset(new Map(keys.map((key) => [key, key.toUpperCase()]))), "OK");
  check("mget over all slots", await r.mget(keys), keys.map((key) => key.toUpperCase()));
  const pipe = r.pipeline();
  keys.forEach((key) => pipe.get(key));
  check("pipeline", await pipe.exec(), keys.map((key) => [null, key.toUpperCase()]));
  check("del over all slots", await r.del(keys), 500);
  check("hset", await r.hset("io:hash", { a: "1", b: "2" }), 2);
  check("hgetall", { ...(await r.hgetall("io:hash")) }, { a: "1", b: "2" });
  await r.del("io:hash");
  const error = await r.lpush("io:a", "x").catch((error) => error);
  check("the server's own error", error.message.startsWith("WRONGTYPE"), true);
}

async function transactions(r) {
  await r.del("{io}a");
  const done = await r.multi().set("{io}a", "1").incr("{io}a").get("{io}a").exec();
  check("multi and exec", done, [[null, "OK"], [null, 2], [null, "2"]]);
  await r.watch("{io}a");
  const other = connect();
  await other.set("{io}a", "changed");
  check("watch, changed", await r.multi().set("{io}a", "lost").exec(), null);
  await r.watch("{io}a");
  check("watch, unchanged", await r.multi().set("{io}a", "3").exec(), [[null, "OK"]]);
  await r.multi({ pipeline: false });
  check("queued", await r.incr("{io}a"), "QUEUED");
  check("exec", await r.exec(), [[null, 4]]);
  await other.quit();
}

async function blocking(r) {
  const waiting = connect();
  await r.del("io:queue");
  check("blpop in vain", await waiting.blpop("io:queue", 0.1), null);
  const popped = waiting.blpop("io:queue", 10);
  await sleep(200);
  await r.rpush("io:queue", "pushed");
  check("blpop of what another client pushes", await popped, ["io:queue", "pushed"]);
  await waiting.quit();
}

async function publishAndSubscribe(r) {
  const subscriber = connect();
  const messages = [];
  subscriber.on("message", (channel, message) => messages.push([channel, message]));
  subscriber.on("pmessage", (_, channel, message) => messages.push([channel, message]));
  check("subscribe", await subscriber.subscribe("io:news"), 1);
  check("psubscribe", await subscriber.psubscribe("io:p*"), 2);
  check("publish", await r.publish("io:news", "one"), 1);
  check("publish to a pattern", await r.publish("io:paper", "two"), 1);
  for (let wait = 0; messages.length < 2 && wait < 500; wait++) await sleep(10);
  check("messages", messages.sort(), [["io:news", "one"], ["io:paper", "two"]]);
  check("unsubscribe", await subscriber.unsubscribe("io:news"), 1);
  check("publish to nobody", await r.publish("io:news", "three"), 0);
  await subscriber.quit();
}

async function scriptsAndScan(r) {
  r.defineCommand("bump", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  await r.del("io:script");
  check("script", await r.bump("io:script", 5), 5);
  await r.script("FLUSH");
  check("script after a flush", await r.bump("io:script", 5), 10);
  const keys = numbers.map((number) => `io:scan:${number}`);
  await r.mset(new Map(keys.map((key) => [key, "x"])));
  const found = new Set();
  for await (const batch of r.scanStream({ match: "io:scan:*", count: 50 })) batch.forEach((key) => found.add(key));
  check("scan", [...found].sort(), keys.sort());
}

async function whileAMasterFailsOver(r) {
  const counts = Array(8).fill(0);
  let going = true;
  await r.del(counts.map((_, index) => `io:count:${index}`));
  const work = counts.map(async (_, index) => {
    while (going) {
      await r.incr(`io:count:${index}`);
      counts[index] += 1;
    }
  });
  await failover();
  going = false;
  await Promise.all(work);
  const found = await r.mget(counts.map((_, index) => `io:count:${index}`));
  check("what was counted while a master failed over", found.map(Number), counts);
}

for (const protocol of [2, 3]) {
  console.log(`-- ioredis, protocol ${protocol}`);
  const r = connect({ protocol });
  await basics(r);
  await transactions(r);
  await blocking(r);
  await publishAndSubscribe(r);
  await scriptsAndScan(r);
  await r.quit();
}
const r = connect({ maxRetriesPerRequest: 0 });
await whileAMasterFailsOver(r);
await r.quit();
