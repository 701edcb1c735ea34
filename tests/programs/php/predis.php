<?php
// Predis: values, a pipeline, a transaction, a script, blocking, SCAN.
require "Predis/Autoloader.php";
Predis\Autoloader::register();
assert_options(ASSERT_EXCEPTION, 1);
$redis = new Predis\Client(["port" => (int) getenv("PORT"), "read_write_timeout" => 10]);
function check($what, $found, $wanted) {
    if ($found != $wanted) { echo "assert $what: ", var_export($found, true), "\n"; exit(1); }
}
$redis->mset(array_combine(range(1, 50), range(101, 150)));
check("many", count(array_filter($redis->mget(range(1, 50)))), 50);
$replies = $redis->pipeline(function ($pipe) { foreach (range(1, 50) as $n) $pipe->incr($n); });
check("a pipeline", $replies, range(102, 151));
$replies = $redis->transaction(function ($tx) { $tx->set("{t}a", 1); $tx->incr("{t}a"); });
check("a transaction", $replies[1], 2);
check("a script", $redis->eval("return redis.call('GET', KEYS[1])", 1, "{t}a"), "2");
$redis->rpush("list", ["x"]);
check("a pop", $redis->blpop(["list"], 1), ["list", "x"]);
check("all keys", count(iterator_to_array(new Predis\Collection\Iterator\Keyspace($redis), false)), 51);
check("deleted", $redis->del(range(1, 50)), 50);
echo "ok\n";
