// A session store at work, express-session with connect-redis over node-redis: many browsers, each of which counts
// its visits in its session, come, go and log out while others do. Every visit is accounted for.
//
// usage: sessions.mjs PORT SECONDS

import { createServer } from "node:http";
import { RedisStore } from "connect-redis";
import session from "express-session";
import { createClient } from "redis";
import { check, port, seconds } from "./harness.mjs";

const client = await createClient({ socket: { port } }).connect();
const store = new RedisStore({ client, prefix: "session:" });
const sessions = session({ store, secret: "s", resave: false, saveUninitialized: false, cookie: { maxAge: 600_000 } });
const server = createServer((request, response) => {
  sessions(request, response, () => {
    if (request.url === "/logout") {
      return request.session.destroy(() => response.end("bye"));
    }
    request.session.visits = (request.session.visits ?? 0) + 1;
    request.session.save((error) => response.end(error ? `error ${error}` : String(request.session.visits)));
  });
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.on("listening", resolve));
const address = `http://127.0.0.1:${server.address().port}`;

let [visits, logouts] = [0, 0];
const wrong = [];
const alive = new Map();
const until = Date.now() + seconds * 1000;
// On a busy machine it may take longer until there was something to do.
const enough = () => visits > 100 && logouts > 1;
const goesOn = () => Date.now() < until || (!enough() && Date.now() < until + 60_000);

async function browser(index) {
  let [cookie, expected] = [null, 0];
  for (let visit = 0; goesOn(); visit++) {
    const leaves = cookie !== null && visit % 25 === 24;
    const headers = cookie === null ? {} : { cookie };
    const answer = await fetch(address + (leaves ? "/logout" : "/"), { headers });
    const text = await answer.text();
    if (leaves) {
      if (text !== "bye") wrong.push([index, text]);
      [cookie, expected] = [null, 0];
      logouts += 1;
    } else {
      expected += 1;
      visits += 1;
      if (text !== String(expected)) wrong.push([index, text, expected]);
      cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    }
  }
  if (cookie !== null) alive.set(decodeURIComponent(cookie.split("=")[1]).slice(2).split(".")[0], expected);
}

await Promise.all([...Array(50).keys()].map(browser));
check("visits that were not counted right", wrong, []);
// The store's own ways to look at all: SCAN, MGET, DEL over all slots.
const all = await new Promise((resolve, reject) => store.all((error, found) => (error ? reject(error) : resolve(found))));
check("sessions that live", Object.fromEntries(all.map(({ id, visits }) => [id, visits])), Object.fromEntries(alive));
const length = () => new Promise((resolve, reject) => store.length((error, count) => (error ? reject(error) : resolve(count))));
check("their number", await length(), alive.size);
await new Promise((resolve, reject) => store.clear((error) => (error ? reject(error) : resolve())));
check("after all were cleared", await length(), 0);
check("there was something to do", enough(), true);
console.log(`${visits} visits, ${logouts} logouts in ${seconds} s`);
server.closeAllConnections();
server.close();
await client.close();
