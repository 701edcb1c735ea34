// Bull: jobs, later ones, retries, counts. PREFIX: the keys' prefix.
import Queue from "bull";
import { check, done, host, port, waitFor } from "./common.mjs";

const options = { redis: { host, port } };
if (process.env.PREFIX) options.prefix = process.env.PREFIX;
const queue = new Queue("work", options);
queue.on("error", (error) => {
  throw error;
});
queue.process(5, async (job) => {
  if (job.data.number % 10 === 3 && job.attemptsMade === 0) throw new Error("the first time");
  return job.data.number * 2;
});
const jobs = await Promise.all([...Array(50).keys()].map((number) => queue.add({ number }, { attempts: 3 })));
const results = await Promise.all(jobs.map((job) => job.finished()));
check("results", results, [...Array(50).keys()].map((number) => number * 2));
const later = await queue.add({ number: 1 }, { delay: 500 });
check("a later one", await later.finished(), 2);
await waitFor("all to be counted", async () => (await queue.getJobCounts()).completed === 51);
await queue.pause();
await queue.resume();
await queue.obliterate({ force: true });
done();
