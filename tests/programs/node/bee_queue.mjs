// bee-queue: jobs, later ones, retries. PREFIX: the keys' prefix.
import Queue from "bee-queue";
import { check, done, host, port, waitFor } from "./common.mjs";

const options = { redis: { host, port }, activateDelayedJobs: true };
if (process.env.PREFIX) options.prefix = process.env.PREFIX;
const queue = new Queue("work", options);
const results = new Map();
queue.on("error", (error) => {
  throw error;
});
queue.on("succeeded", (job, result) => results.set(job.data.number, result));
let failed = 0;
queue.process(5, async (job) => {
  if (job.data.number === 3 && failed++ === 0) throw new Error("the first time");
  return job.data.number * 2;
});
for (const number of Array(50).keys()) await queue.createJob({ number }).retries(2).save();
await waitFor("jobs", () => results.size === 50);
check("the results", results.get(49), 98);
await queue.createJob({ number: 100 }).delayUntil(Date.now() + 500).save();
await waitFor("a later one", () => results.get(100) === 200);
await queue.checkHealth();
done();
