// BullMQ: jobs, later ones, a flow, counts. PREFIX: the keys' prefix.
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { check, done, host, port } from "./common.mjs";

const options = { connection: { host, port } };
if (process.env.PREFIX) options.prefix = process.env.PREFIX;
const queue = new Queue("work", options);
const events = new QueueEvents("work", options);
const worker = new Worker("work", async (job) => {
  return job.data.number * 2;
}, { ...options, concurrency: 5 });
worker.on("error", (error) => {
  throw error;
});
await events.waitUntilReady();
const wanted = [...Array(50).keys()].map((number) => ({ name: "x", data: { number } }));
const jobs = await queue.addBulk(wanted);
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20_000)));
check("results", results, [...Array(50).keys()].map((number) => number * 2));
const later = await queue.add("x", { number: 1 }, { delay: 500 });
check("a later one", await later.waitUntilFinished(events, 20_000), 2);
const children = [4, 5].map((number) => ({ name: "x", data: { number }, queueName: "work" }));
const flow = await new FlowProducer(options).add({ name: "x", data: { number: 9 }, queueName: "work", children });
check("a flow", await flow.job.waitUntilFinished(events, 20_000), 18);
await queue.obliterate({ force: true });
done();
