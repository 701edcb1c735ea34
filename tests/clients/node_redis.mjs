// node-redis through the proxy, as an application uses it: no cluster client, one connection for all requests.
//
// usage: node_redis.mjs PORT

import { BasicClientSideCache, createClient, WatchError } from "redis";
import { check, failover, port, sleep, tls } from "./harness.mjs";

async function connect(options) {
  const client = createClient({ socket: tls ? { port, tls: true, ...tls } : { port }, ...options });
  client.on("error", (error) => console.log(`error event: ${error.message}`));
  return client.connect();
}

const numbers = [...Array(500).keys()];

async function basics(r) {
  check("set", await r.set("nr:a", "1"), "OK");
  check("incr", await r.incrBy("nr:a", 41), 42);
  check("get of nothing", await r.get("nr:none"), null);
  const keys = numbers.map((number) => `nr:key:${number}`);
  check("mset over all slots", await r.mSet(keys.map((key) => [key, key.toUpperCase()])), "OK");
  check("mget over all slots", await r.mGet(keys), keys.map((key) => key.toUpperCase()));
  // What is asked in one turn is one pipeline.
  check("500 at once", await Promise.all(keys.map((key) => r.get(key))), keys.map((key) => key.toUpperCase()));
  check("hset", await r.hSet("nr:hash", { a: "1", b: "2" }), 2);
  check("hgetall", { ...(await r.hGetAll("nr:hash")) }, { a: "1", b: "2" });
  check("zadd", await r.zAdd("nr:zset", [{ score: 1.5, value: "a" }]), 1);
  check("zscore", await r.zScore("nr:zset", "a"), 1.5);
  check("del over all slots", await r.del([...keys, "nr:hash", "nr:zset"]), 502);
}

async function transactions(r) {
  await r.del("{nr}a");
  check("multi and exec", await r.multi().set("{nr}a", "1").incr("{nr}a").get("{nr}a").exec(), ["OK", 2, "2"]);
  const own = await r.duplicate().connect();
  await own.watch("{nr}a");
  await r.set("{nr}a", "changed");
  await own.multi().set("{nr}a", "lost").exec().then(
    () => check("watch, changed", "executed", "refused"),
    (error) => check("watch, changed", error instanceof WatchError, true),
  );
  await own.watch("{nr}a");
  check("watch, unchanged", await own.multi().set("{nr}a", "3").exec(), ["OK"]);
  await own.close();
}

async function blocking(r) {
  const waiting = await r.duplicate().connect();
  await r.del("nr:queue");
  check("blpop in vain", await waiting.blPop("nr:queue", 0.1), null);
  const popped = waiting.blPop("nr:queue", 10);
  await sleep(200);
  await r.rPush("nr:queue", "pushed");
  check("blpop of what another client pushes", { ...(await popped) }, { key: "nr:queue", element: "pushed" });
  await waiting.close();
}

async function publishAndSubscribe(r) {
  const subscriber = await r.duplicate().connect();
  const messages = [];
  await subscriber.subscribe("nr:news", (message, channel) => messages.push([channel, message]));
  await subscriber.pSubscribe("nr:p*", (message, channel) => messages.push([channel, message]));
  check("publish", await r.publish("nr:news", "one"), 1);
  check("publish to a pattern", await r.publish("nr:paper", "two"), 1);
  for (let wait = 0; messages.length < 2 && wait < 500; wait++) await sleep(10);
  check("messages", messages.sort(), [["nr:news", "one"], ["nr:paper", "two"]]);
  await subscriber.unsubscribe("nr:news");
  check("publish to nobody", await r.publish("nr:news", "three"), 0);
  await subscriber.close();
}

async function scriptsAndScan(r) {
  const source = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
  await r.del("nr:script");
  check("eval", await r.eval(source, { keys: ["nr:script"], arguments: ["5"] }), 5);
  const sha = await r.scriptLoad(source);
  check("evalsha", await r.evalSha(sha, { keys: ["nr:script"], arguments: ["5"] }), 10);
  const keys = numbers.map((number) => `nr:scan:${number}`);
  await r.mSet(keys.map((key) => [key, "x"]));
  const found = new Set();
  for await (const batch of r.scanIterator({ MATCH: "nr:scan:*", COUNT: 50 })) for (const key of batch) found.add(key);
  check("scan", [...found].sort(), keys.sort());
}

// What another client has changed is told by a push, which comes a moment later.
async function eventually(what, ask, expected) {
  let got;
  for (let round = 0; round < 1000; round += 1) {
    got = await ask();
    if (JSON.stringify(got) === JSON.stringify(expected)) break;
    await sleep(10);
  }
  check(what, got, expected);
}

// node-redis' own cache, which lives by CLIENT TRACKING.
async function clientSideCache(r) {
  const keys = numbers.slice(0, 100).map((number) => `nr:cached:${number}`);
  const all = (value) => keys.map(() => value);
  await r.mSet(keys.map((key) => [key, "old"]));
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: "LRU" });
  const own = await connect({ RESP: 3, clientSideCache: cache });
  const read = () => Promise.all(keys.map((key) => own.get(key)));
  check("reads that fill the cache", await read(), all("old"));
  const misses = cache.stats().missCount;
  check("reads from the cache", await read(), all("old"));
  check("those that were none", cache.stats().missCount - misses, 0);
  await r.mSet(keys.map((key) => [key, "new"]));
  await eventually("after others have written", read, all("new"));
  await own.set(keys[0], "own");
  await eventually("after its own write", () => own.get(keys[0]), "own");
  await r.del(keys);
  await eventually("after others have deleted", read, all(null));
  await own.close();
}

async function whileAMasterFailsOver(r) {
  const counts = Array(8).fill(0);
  let going = true;
  await r.del(counts.map((_, index) => `nr:count:${index}`));
  const work = counts.map(async (_, index) => {
    while (going) {
      await r.incr(`nr:count:${index}`);
      counts[index] += 1;
    }
  });
  await failover();
  going = false;
  await Promise.all(work);
  const found = await r.mGet(counts.map((_, index) => `nr:count:${index}`));
  check("what was counted while a master failed over", found.map(Number), counts);
}

for (const RESP of [2, 3]) {
  console.log(`-- node-redis, protocol ${RESP}`);
  const r = await connect({ RESP });
  await basics(r);
  await transactions(r);
  await blocking(r);
  await publishAndSubscribe(r);
  await scriptsAndScan(r);
  await r.close();
}
const r = await connect({});
await clientSideCache(r);
await whileAMasterFailsOver(r);
await r.close();
