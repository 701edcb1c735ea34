// node-resque: jobs and later ones, with its worker and scheduler. NAMESPACE: the keys' prefix.
import { Queue, Scheduler, Worker } from "node-resque";
import { check, done, host, port, waitFor } from "./common.mjs";

const connection = { pkg: "ioredis", host, port, database: 0, namespace: process.env.NAMESPACE ?? "resque" };
const results = [];
const jobs = { square: { perform: async (number) => results.push(number * number) } };
const worker = new Worker({ connection, queues: ["work"], timeout: 100 }, jobs);
const scheduler = new Scheduler({ connection, timeout: 100 });
const queue = new Queue({ connection }, jobs);
for (const one of [worker, scheduler, queue]) {
  one.on("error", (error) => {
    throw error;
  });
}
await queue.connect();
await worker.connect();
await scheduler.connect();
worker.start();
scheduler.start();
for (const number of Array(30).keys()) await queue.enqueue("work", "square", [number]);
await waitFor("jobs", () => results.length === 30);
await queue.enqueueIn(500, "work", "square", [100]);
await waitFor("a later one", () => results.includes(10_000));
check("the queue", await queue.length("work"), 0);
done();
