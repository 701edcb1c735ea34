// What the programs here share: a check that ends the program, and a word with the test that started it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export const port = Number(process.argv[2]);
export const seconds = Number(process.argv[3] ?? 10);

/** What the TLS of node needs, where CLIENTS_TLS names a folder of certificates; else nothing. */
const folder = process.env.CLIENTS_TLS;
export const tls = folder && {
  ca: readFileSync(`${folder}/ca.crt`),
  cert: readFileSync(`${folder}/own.crt`),
  key: readFileSync(`${folder}/own.key`),
};

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function check(what, got, expected) {
  assert.deepEqual(got, expected, what);
  console.log(`${what}: ok`);
}

/** Has the test make a replica the master of its shard; returns when the cluster has settled. */
export async function failover() {
  const lines = createInterface({ input: process.stdin });
  console.log("FAILOVER");
  for await (const line of lines) {
    assert.equal(line, "done");
    break;
  }
  lines.close();
  process.stdin.destroy();
}
