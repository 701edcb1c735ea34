// connect-redis, the store of express-session: set, get, touch, all, length, clear.
import { RedisStore } from "connect-redis";
import { createClient } from "redis";
import { check, done, host, port } from "./common.mjs";

const client = await createClient({ socket: { host, port } }).connect();
const store = new RedisStore({ client });
const session = (visits) => ({ visits, cookie: { maxAge: 60_000 } });
for (const number of Array(30).keys()) await store.set(`s${number}`, session(number));
check("one", (await store.get("s7")).visits, 7);
await store.touch("s7", session(7));
check("their number", await store.length(), 30);
check("all", (await store.all()).length, 30);
await store.destroy("s7");
check("ids", (await store.ids()).length, 29);
await store.clear();
check("none", await store.length(), 0);
done();
