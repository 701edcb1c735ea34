// The status page. Everything that comes from the process is put into the page as text (textContent), never as
// markup: names of keys, clients and commands are chosen by strangers.
"use strict";

const SLOTS = 16384, SECONDS = 300, RETRY_MS = 1000, INSIGHT_MS = 5000;
// Okabe and Ito's colours, then the same again: neighbours always differ.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#8c6d46", "#7f7f7f"];
const by = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
let history_ = [], last = null, lastAt = 0, before = null, beforeAt = 0, marked = null;
const past = []; // of the last ten seconds: what had failed by then
const order = {}; // of each table: the column it is sorted by, and which way

// --- small things

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}
function number(n) {
  if (n >= 1e9) return (n / 1e9).toFixed(2) + " G";
  if (n >= 1e6) return (n / 1e6).toFixed(2) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(1) + " k";
  return n >= 10 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}
function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return (unit === "B" ? n : n.toFixed(n < 10 ? 1 : 0)) + " " + unit;
    n /= 1024;
  }
}
function micros(us) {
  if (us >= 1e6) return (us / 1e6).toFixed(2) + " s";
  if (us >= 1e3) return (us / 1e3).toFixed(us < 1e4 ? 2 : 1) + " ms";
  return Math.round(us) + " µs";
}
function span(seconds) {
  if (seconds < 60) return Math.floor(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 172800) return (seconds / 3600).toFixed(1) + " h";
  return Math.floor(seconds / 86400) + " days";
}
const clock = (at) => new Date(at * 1000).toLocaleTimeString();
const sum = (values) => values.reduce((all, one) => all + one, 0);

// CRC16/XMODEM of the hash tag, as the specification of Redis Cluster has it.
function slotOf(key) {
  let data = new TextEncoder().encode(key);
  const open = data.indexOf(123);
  if (open >= 0) {
    const close = data.indexOf(125, open + 1);
    if (close > open + 1) data = data.subarray(open + 1, close);
  }
  let crc = 0;
  for (const byte of data) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc % SLOTS;
}

// --- what comes from the process

async function ask(path, options = {}) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    by("login").hidden = false;
    throw new Error("token");
  }
  if (!response.ok) throw new Error((await response.text()).trim());
  by("login").hidden = true;
  return response;
}
const json = async (path) => (await ask(path)).json();

async function stream() {
  for (;;) {
    try {
      const page = await json("api/v1/history");
      history_ = page.seconds;
      showEvents(page.events);
      const reader = (await ask("api/v1/stream")).body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        let end;
        while ((end = text.indexOf("\n\n")) >= 0) {
          const event = text.slice(0, end);
          text = text.slice(end + 2);
          const data = event.split("\n").find((line) => line.startsWith("data: "));
          if (data) take(JSON.parse(data.slice(6)));
        }
      }
      badge("no answer", "bad");
    } catch (error) {
      badge(error.message === "token" ? "token needed" : "no answer", "bad");
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
function badge(text, className) {
  by("state").textContent = text;
  by("state").className = "badge " + className;
}

// --- the picture of a second

const errorsOf = (status) => sum(Object.values(status.errors));

function take(status) {
  [before, beforeAt] = [last, lastAt];
  [last, lastAt] = [status, performance.now() / 1000];
  const passed = before ? lastAt - beforeAt : 0;
  const restarted = before && before.program.run_id !== status.program.run_id;
  const rate = (now, then) => (passed && !restarted ? Math.max(0, now - then) / passed : 0);
  const errors = before ? rate(errorsOf(status), errorsOf(before)) : 0;
  const cpu = before ? rate(status.process.cpu, before.process.cpu) : 0;
  const clients = sum(status.workers.map((worker) => worker.clients));
  history_.push({
    commands: status.rates.commands, errors,
    p50_us: status.recent.requests.p50_us, p99_us: status.recent.requests.p99_us,
  });
  history_ = history_.slice(-SECONDS);

  const program = status.program;
  by("version").textContent = program.version + (program.commit && program.commit !== "unknown" ? " " + program.commit : "");
  by("uptime").textContent = program.listen + ", up " + span(program.uptime);
  const ready = status.ready;
  if (ready.draining) badge("draining", "warn");
  else if (!ready.healthy) badge("a worker is stuck", "bad");
  else badge(ready.ready ? "ready" : "not ready", ready.ready ? "good" : "bad");

  numbers([
    ["operations/s", number(status.rates.commands)],
    ["p50", micros(status.recent.requests.p50_us)],
    ["p99", micros(status.recent.requests.p99_us)],
    ["errors/s", number(errors), errors > 0 ? "bad" : ""],
    ["clients", number(clients)],
    ["in flight", number(status.sample.requests_in_flight)],
    ["processor", (cpu * 100).toFixed(0) + " %"],
    ["memory", bytes(status.process.resident_bytes)],
    ["in", bytes(status.rates.bytes_in) + "/s"],
    ["out", bytes(status.rates.bytes_out) + "/s"],
  ]);
  split(status.recent);
  findings(status);
  graphs();
  slots(status);
  shards(status);
  const seconds = status.recent.seconds || 1;
  table("commands", ["command", "calls/s", "p50", "p99", "failed", "refused"],
    status.commands.filter((own) => own.recent.count || own.failed || own.rejected).map((own) => [own.name, [own.recent.count / seconds, number], [own.recent.p50_us, micros],
      [own.recent.p99_us, micros], [own.failed, number], [own.rejected, number]]), 1);
  const namespaces = status.namespaces || [];
  by("namespaces-section").hidden = !namespaces.length;
  const named = (own) => own.name + " " + own.database;
  const were = new Map(before ? (before.namespaces || []).map((own) => [named(own), own]) : []);
  table("namespaces", ["namespace", "database", "requests/s", "in/s", "out/s", "clients", "keys in slot", "slot", "master"],
    namespaces.map((own) => {
      const then = were.get(named(own)) || own;
      const per = (what) => rate(own[what], then[what]);
      return [own.name, [own.database], [per("requests"), number], [per("bytes_in"), bytes], [per("bytes_out"), bytes], [own.clients, number],
        [own.keys ?? -1, (keys) => (keys < 0 ? "" : number(keys))], [own.slot], own.node];
    }), 2);
  table("redirects", ["slot", "MOVED", "ASK", "TRYAGAIN", "last"],
    status.redirects.most.map((own) => [[own.slot], [own.moved], [own.ask], [own.tryagain], [own.age, (age) => span(age) + " ago"]]), 4, false);
}

function numbers(list) {
  by("numbers").replaceChildren(...list.map(([name, value, className]) => {
    const box = node("div");
    box.append(node("b", value, className), node("span", name));
    return box;
  }));
}

function split(recent) {
  const all = recent.requests.seconds, backend = Math.min(recent.nodes.seconds, all);
  const share = all ? backend / all : 0;
  by("split-proxy").style.width = all ? (1 - share) * 100 + "%" : "0";
  by("split-backend").style.width = share * 100 + "%";
  const text = all
    ? `proxy ${((1 - share) * 100).toFixed(0)} % (blue), backend ${(share * 100).toFixed(0)} % (orange) of the time of ${number(recent.requests.count)} requests`
    : "no requests in the last ten seconds";
  by("split-text").textContent = text;
  by("split").setAttribute("aria-label", text);
}

// A node is an outlier when its p50 or p99 is more than three times the median of all, and a client feels it. A busy
// machine blurs the p99 of all nodes; the p50 still tells a node that is slow all the time.
function outliers(status) {
  const busy = status.nodes.filter((own) => own.recent.count > 0);
  const excess = (own, which) => {
    const all = busy.map((other) => other.recent[which + "_us"]).sort((a, b) => a - b);
    const median = all[Math.floor((all.length - 1) / 2)], value = own.recent[which + "_us"];
    return value > 3 * median && value > 1000 ? `${which} ${micros(value)}, the median of the nodes is ${micros(median)}` : "";
  };
  const slow = new Map();
  for (const own of busy) {
    const words = busy.length > 2 && (excess(own, "p50") || excess(own, "p99"));
    if (words) slow.set(own, words);
  }
  return slow;
}

// Errors of the last ten seconds, so that single ones neither flicker nor are missed: how many a second, their codes and
// the commands that got them, most first.
function failing(status) {
  if (past.length && past[0].program.run_id !== status.program.run_id) past.length = 0;
  past.push({ at: lastAt, program: status.program, errors: status.errors, commands: status.commands });
  if (past.length > 11) past.shift();
  const then = past[0];
  const most = (now, then) => now.map(([name, count]) => [name, count - (then.get(name) ?? 0)])
    .filter((own) => own[1] > 0).sort((a, b) => b[1] - a[1]).slice(0, 3).map((own) => own[0]).join(", ");
  const failed = (of) => of.commands.map((own) => [own.name, own.failed + own.rejected]);
  const codes = most(Object.entries(status.errors), new Map(Object.entries(then.errors)));
  const commands = most(failed(status), new Map(failed(then)));
  const rate = (errorsOf(status) - errorsOf(then)) / Math.max(1, lastAt - then.at);
  return { rate, codes: codes + (commands && ` (${commands})`) };
}

function findings(status) {
  const list = [];
  for (const reason of status.ready.reasons) list.push(["bad", "Not ready: " + reason]);
  for (const own of status.nodes.filter((own) => !own.up && own.role !== "unlisted"))
    list.push(["bad", `${own.role} ${own.address} is down` + (own.slots ? `: ${own.slots} slots` : own.role === "master" ? ", it has no slots" : "")]);
  for (const own of status.nodes.filter((own) => own.up && own.silent > 1))
    list.push(["bad", `${own.role} ${own.address} has not replied for ${own.silent} s`]);
  for (const [own, words] of outliers(status)) list.push(["warn", `${own.role} ${own.address} is slow: ${words}`]);
  const { rate, codes } = failing(status);
  if (rate >= 0.1 && rate > (0.01 * status.recent.requests.count) / (status.recent.seconds || 1))
    list.push(["warn", `clients get ${number(rate)} errors/s: ${codes}`]);
  for (const worker of status.workers.filter((own) => !own.up)) list.push(["bad", `worker ${worker.worker} is stuck`]);
  if (status.redirects.migrating) list.push(["warn", `${status.redirects.migrating} slots are migrating`]);
  if (!list.length) list.push(["good", "Nothing is wrong: every slot has a master that is up, and no node is slower than the others."]);
  const items = node("ul");
  items.append(...list.slice(0, 12).map(([className, text]) => node("li", text, className)));
  const box = by("findings");
  // Screen readers hear what is new only.
  if (box.textContent !== items.textContent) box.replaceChildren(items);
}

function graphs() {
  const line = (values, max) => values
    .map((value, at) => `${(SECONDS - values.length + at).toFixed(0)},${(58 - (Math.min(value, max) / (max || 1)) * 54).toFixed(1)}`).join(" ");
  const draw = (id, lines, show) => {
    const max = Math.max(1, ...lines.flat());
    by(id).replaceChildren(...lines.map((values, at) => drawn("polyline", { class: at ? "b" : "a", points: line(values, max) })));
    const now = show(lines[0][lines[0].length - 1] || 0);
    by(id + "-now").textContent = now + ", at most " + show(Math.max(0, ...lines[0]));
  };
  draw("g-ops", [history_.map((own) => own.commands)], number);
  draw("g-lat", [history_.map((own) => own.p99_us), history_.map((own) => own.p50_us)], micros);
  draw("g-err", [history_.map((own) => own.errors)], number);
}

// --- slots and shards

const shardOf = (status, master) => status.topology.shards.findIndex((own) => own.master === master);
const colour = (index) => COLOURS[index % COLOURS.length];
const rangeOf = (status, slot) => status.topology.ranges.find((own) => own.first <= slot && slot <= own.last);

function slots(status) {
  const map = by("slots"), parts = [];
  const down = new Set(status.nodes.filter((own) => !own.up).map((own) => own.address));
  for (const own of status.topology.ranges) {
    const rect = drawn("rect", { x: own.first, y: 0, width: own.last - own.first + 1, height: 600, fill: colour(Math.max(0, shardOf(status, own.master))) });
    if (down.has(own.master)) rect.setAttribute("class", "down");
    rect.append(drawn("title", {}));
    rect.firstChild.textContent = `${own.first} to ${own.last}: ${own.master}` + (down.has(own.master) ? " (down)" : "");
    parts.push(rect);
  }
  for (const own of status.redirects.most)
    parts.push(drawn("rect", { x: own.slot - 8, y: 0, width: 17, height: own.migrating ? 300 : 150, class: "moved" }));
  if (marked !== null) parts.push(drawn("rect", { x: marked - 12, y: 0, width: 25, height: 600, class: "mark" }));
  map.replaceChildren(...parts);
  by("slots-text").textContent = `${status.ready.slots_served} of ${SLOTS} slots are served` +
    (status.ready.uncovered.length ? "; not served (red): " + status.ready.uncovered.join(", ") : "") +
    (status.redirects.slots ? `; clients were redirected at ${status.redirects.slots} slots (dark marks)` : "");
  if (marked !== null) find();
}

function find() {
  const key = by("key").value;
  if (!key || !last) {
    marked = null;
    by("found").textContent = "";
    return;
  }
  marked = slotOf(key);
  const range = rangeOf(last, marked);
  by("found").textContent = `slot ${marked}, ` + (range ? `master ${range.master}` : "no master");
}

function shards(status) {
  const slow = outliers(status);
  const known = new Map(status.nodes.map((own) => [own.address, own]));
  const seconds = status.recent.seconds || 1;
  const listed = new Set();
  const line = (address, role) => {
    const own = known.get(address);
    listed.add(address);
    const box = node("div", undefined, "node" + (own && slow.has(own) ? " slow" : ""));
    box.append(node("b", address));
    const up = own && own.up;
    box.append(node("span", `${role}, ${up ? "up" : "DOWN"}`, up ? "good" : "bad"));
    if (own) box.append(node("span",
      (own.recent.count ? `${number(own.recent.count / seconds)} ops/s · p50 ${micros(own.recent.p50_us)} · p99 ${micros(own.recent.p99_us)} · ` : "no requests · ") +
      `${own.in_flight} in flight · ${own.busy}/${own.connections} connections busy · ${number(sum(Object.values(own.errors)))} errors` +
      (slow.has(own) ? " · slower than the others" : "") + (own.silent > 1 ? ` · silent for ${own.silent} s` : "")));
    return box;
  };
  const cards = status.topology.shards.map((shard, index) => {
    const own = status.topology.ranges.filter((range) => range.master === shard.master);
    const card = node("div", undefined, "card");
    card.style.setProperty("--shard", colour(index));
    const count = sum(own.map((range) => range.last - range.first + 1));
    card.append(node("small", `shard ${index + 1}: ${count} slots in ${own.length} range${own.length === 1 ? "" : "s"}`));
    card.append(line(shard.master, "master"), ...shard.replicas.map((address) => line(address, "replica")));
    if ([shard.master, ...shard.replicas].some((address) => slow.has(known.get(address)))) card.classList.add("outlier");
    if (known.get(shard.master)?.up === false) card.classList.add("down");
    return card;
  });
  const others = status.nodes.filter((own) => !listed.has(own.address));
  if (others.length) {
    const card = node("div", undefined, "card");
    card.append(node("small", "nodes without slots"));
    card.append(...others.map((own) => line(own.address, own.role)));
    cards.push(card);
  }
  by("shards").replaceChildren(...cards);
}

// --- tables. A cell is a text, or a number and how it is shown.

function table(id, names, rows, sortBy, descending = true) {
  const own = (order[id] ||= { column: sortBy, descending });
  own.rows = rows;
  own.names = names;
  const value = (cell) => (Array.isArray(cell) ? cell[0] : cell);
  if (own.column !== undefined) {
    const way = own.descending ? -1 : 1;
    rows = [...rows].sort((a, b) => {
      const [x, y] = [value(a[own.column]), value(b[own.column])];
      return (x < y ? -1 : x > y ? 1 : 0) * way;
    });
  }
  // The head stays, so that the keyboard does not lose its place once a second.
  const shown = by(id);
  if (!shown.tHead) {
    const head = shown.createTHead().insertRow();
    names.forEach((name, column) => {
      const cell = node("th"), button = node("button", name);
      button.type = "button";
      button.addEventListener("click", () => {
        own.descending = own.column === column ? !own.descending : true;
        own.column = column;
        table(id, own.names, own.rows);
      });
      cell.append(button);
      head.append(cell);
    });
    shown.createTBody();
  }
  [...shown.tHead.rows[0].cells].forEach((cell, column) => {
    cell.classList.toggle("n", rows.length > 0 && Array.isArray(rows[0][column]));
    cell.ariaSort = own.column !== column ? null : own.descending ? "descending" : "ascending";
  });
  const lines = rows.slice(0, 128).map((row) => {
    const line = node("tr");
    for (const cell of row) line.append(Array.isArray(cell)
      ? node("td", cell[1] ? cell[1](cell[0]) : String(cell[0]), "n") : node("td", cell));
    return line;
  });
  if (!lines.length) {
    const none = node("td", "none", "muted");
    none.colSpan = names.length;
    lines.push(node("tr"));
    lines[0].append(none);
  }
  shown.tBodies[0].replaceChildren(...lines);
}

function showEvents(events) {
  table("events", ["when", "what"], events.map((own) => [[own.at, clock], own.text]), 0);
}

async function insight() {
  for (;;) {
    try {
      if (last && !document.hidden) {
        const [hot, big, slow, clients, page] = await Promise.all(
          ["hotkeys", "bigkeys", "slowlog", "clients", "history"].map((name) => json("api/v1/" + name)));
        table("hotkeys", ["key", "slot", "requests", "share"], hot.map((own) => [own.key, [own.slot], [own.requests, number], [Number(own.percent), (share) => share + " %"]]), 2);
        table("bigkeys", ["key", "bytes", "command"], big.map((own) => [own.key, [own.bytes, bytes], own.command]), 1);
        table("slowlog", ["when", "took", "in the proxy", "at the node", "node", "client", "request"],
          slow.map((own) => [[own[1], clock], [own[2], micros], [own[7], micros], [own[8], micros], own[6], own[4], shown(own[3])]), 0);
        table("libraries", ["library", "clients"], clients.libraries.map((own) => [own.name || "unknown", [own.clients, number]]), 1);
        table("addresses", ["address", "clients"], clients.addresses.map((own) => [own.name, [own.clients, number]]), 1);
        showEvents(page.events);
      }
    } catch { /* the stream tells of it */ }
    await new Promise((resolve) => setTimeout(resolve, last ? INSIGHT_MS : 250));
  }
}
// The command and its first argument, a key: values are never shown.
function shown(args) {
  return args.slice(0, 2).join(" ") + (args.length > 2 ? ` … ${args.length - 2} more` : "");
}

by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = by("token").value;
  sessionStorage.setItem("token", token);
  by("token").value = "";
  by("login").hidden = true;
});
by("search").addEventListener("submit", (event) => event.preventDefault());
by("key").addEventListener("input", () => {
  find();
  if (last) slots(last);
});
stream();
insight();
