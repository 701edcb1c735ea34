<?php
// phpredis: values, a pipeline, a transaction, a script, SCAN; and PHP's sessions with their lock.
function check($what, $found, $wanted) {
    if ($found != $wanted) { echo "assert $what: ", var_export($found, true), "\n"; exit(1); }
}
$port = (int) getenv("PORT");
$redis = new Redis();
$redis->connect("127.0.0.1", $port, 5);
$redis->mset(array_combine(range(1, 50), range(101, 150)));
check("many", count(array_filter($redis->mget(range(1, 50)))), 50);
$pipe = $redis->multi(Redis::PIPELINE);
foreach (range(1, 50) as $n) $pipe->incr((string) $n);
check("a pipeline", $pipe->exec(), range(102, 151));
$redis->watch("{t}a");
check("a transaction", $redis->multi()->set("{t}a", 1)->incr("{t}a")->exec(), [true, 2]);
check("a script", $redis->eval("return redis.call('GET', KEYS[1])", ["{t}a"], 1), "2");
$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
[$cursor, $keys] = [null, []];
while (($page = $redis->scan($cursor)) !== false) $keys = array_merge($keys, $page);
check("all keys", count(array_unique($keys)), 51);
ini_set("session.save_handler", "redis");
ini_set("session.save_path", "tcp://127.0.0.1:$port");
ini_set("redis.session.locking_enabled", "1");
ini_set("session.use_cookies", "0");
ini_set("session.cache_limiter", "");
foreach ([1, 2, 3] as $visit) {
    session_id("abc");
    session_start();
    $_SESSION["visits"] = ($_SESSION["visits"] ?? 0) + 1;
    check("a visit", $_SESSION["visits"], $visit);
    session_write_close();
}
echo "ok\n";
