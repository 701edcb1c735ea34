// Keyv with its Redis store: one and many, time to live, clear. CLEAR: whether without a namespace, too.
import KeyvRedis from "@keyv/redis";
import Keyv from "keyv";
import { check, done, host, port } from "./common.mjs";

const keyv = new Keyv(new KeyvRedis(`redis://${host}:${port}`), { namespace: "n" });
keyv.on("error", (error) => {
  throw error;
});
await keyv.set("a", { b: 1 }, 60_000);
check("one", await keyv.get("a"), { b: 1 });
const entries = [...Array(20).keys()].map((number) => ({ key: `k${number}`, value: number }));
await keyv.setMany(entries);
check("many", await keyv.getMany(entries.map((one) => one.key)), entries.map((one) => one.value));
check("is there", await keyv.has("k3"), true);
await keyv.deleteMany(["k3", "k4"]);
check("is gone", await keyv.get("k3") ?? null, null);
await keyv.clear();
check("all are gone", await keyv.get("k5") ?? null, null);
done();
