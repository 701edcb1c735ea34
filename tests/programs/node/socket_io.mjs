// The Redis adapters of Socket.IO between two servers: rooms, acknowledgements, fetchSockets, serverSideEmit.
// KIND: classic or sharded.
import { createServer } from "node:http";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { check, done, host, port, sleep, waitFor } from "./common.mjs";

const make = process.env.KIND === "sharded" ? createShardedAdapter : createAdapter;
async function start() {
  const publisher = await createClient({ socket: { host, port }, RESP: 2 }).connect();
  const subscriber = await publisher.duplicate().connect();
  const http = createServer();
  const server = new Server(http, { adapter: make(publisher, subscriber) });
  server.on("connection", (socket) => socket.join("room"));
  await new Promise((resolve) => http.listen(0, host, resolve));
  return [server, http.address().port];
}
const [[one, onePort], [two, twoPort]] = [await start(), await start()];
const got = [];
for (const [name, number] of [["a", onePort], ["b", onePort], ["c", twoPort]]) {
  const socket = io(`http://${host}:${number}`);
  socket.on("news", (text) => got.push(name + text));
  socket.on("ask", (answer) => answer(name));
  await new Promise((resolve) => socket.on("connect", resolve));
}
await sleep(500);
one.to("room").emit("news", "1");
two.emit("news", "2");
await waitFor("the news", () => got.length === 6);
check("the news", got.sort(), ["a1", "a2", "b1", "b2", "c1", "c2"]);
check("sockets", (await two.fetchSockets()).length, 3);
const answers = await one.timeout(5000).emitWithAck("ask");
check("answers", answers.sort(), ["a", "b", "c"]);
two.on("hello", (answer) => answer("two"));
check("servers", await one.serverSideEmitWithAck("hello"), ["two"]);
done();
