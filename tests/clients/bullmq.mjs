// A job queue at work, BullMQ: jobs that are added, delayed, repeated after a failure and waited for, by several
// workers, while a master fails over. Every job is accounted for.
//
// usage: bullmq.mjs PORT SECONDS
//
// BullMQ's scripts take several keys of a queue at once. On any cluster, and so here, these have to be in one slot:
// its manual gives the queue a prefix with a hash tag for that ("Redis Cluster", `prefix: '{myprefix}'`).

import { Queue, QueueEvents, Worker } from "bullmq";
import { check, failover, port, seconds, sleep } from "./harness.mjs";

const options = { connection: { host: "127.0.0.1", port }, prefix: "{jobs}" };
const queue = new Queue("work", options);
const events = new QueueEvents("work", options);
const starts = new Map();
const completed = new Map();
const heard = new Set();

const shouldFail = (job) => job.data.number % 10 === 3 && job.attemptsMade === 0;

async function perform(job) {
  starts.set(job.id, (starts.get(job.id) ?? 0) + 1);
  await sleep(job.data.number % 5);
  if (shouldFail(job)) throw new Error("the first time");
  return job.data.number * 2;
}

const workers = [1, 2, 3].map(() => new Worker("work", perform, { ...options, concurrency: 10 }));
const troubles = [];
for (const worker of workers) {
  worker.on("completed", (job, result) => {
    completed.set(job.id, [...(completed.get(job.id) ?? []), result]);
  });
  worker.on("error", (error) => troubles.push(error.message));
}
events.on("completed", ({ jobId }) => heard.add(jobId));
await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), ...workers.map((one) => one.waitUntilReady())]);

const added = new Map();
const until = Date.now() + seconds * 1000;
let number = 0;
let changed;
while (Date.now() < until) {
  const jobs = [...Array(20).keys()].map(() => {
    number += 1;
    const delay = number % 7 === 0 ? 50 : 0;
    return { name: "one", data: { number }, opts: { delay, attempts: 3, backoff: { type: "fixed", delay: 20 } } };
  });
  for (const job of await queue.addBulk(jobs)) added.set(job.id, job.data.number);
  if (changed === undefined && Date.now() > until - (seconds * 1000) / 2) changed = failover();
  await sleep(20);
}
await changed;
const last = await queue.add("last", { number: 1_000_000 });
added.set(last.id, 1_000_000);
check("the result of a job that is waited for", await last.waitUntilFinished(events, 30_000), 2_000_000);
for (let wait = 0; completed.size < added.size && wait < 3000; wait++) await sleep(10);
for (let wait = 0; heard.size < added.size && wait < 500; wait++) await sleep(10);

const counts = await queue.getJobCounts();
check("jobs in any state but completed", Object.values(counts).reduce((a, b) => a + b) - counts.completed, 0);
check("completed, by the queue's own count", counts.completed, added.size);
check("each once, with its result",
  [...added].filter(([id, number]) => JSON.stringify(completed.get(id)) !== JSON.stringify([number * 2])), []);
check("started once, or twice after a failure", [...added].filter(([id, number]) =>
  starts.get(id) !== (number % 10 === 3 ? 2 : 1)), []);
check("told by an event", [...added].filter(([id]) => !heard.has(id)), []);
check("errors that a worker saw", troubles, []);
console.log(`${added.size} jobs in ${seconds} s`);
await Promise.all(workers.map((worker) => worker.close()));
await events.close();
await queue.close();
