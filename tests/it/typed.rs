//! The redis crate, as its users use it: types, pipelines and errors, in RESP2 and RESP3, with and without a
//! password.

use crate::support::{Cluster, Proxy};
use redis::{Commands, Connection, RedisResult};
use std::collections::{HashMap, HashSet};

fn connect(proxy: &Proxy, password: &str, protocol: &str) -> Connection {
    let url = format!("redis://{password}{}/?protocol={protocol}", proxy.addr());
    let client = redis::Client::open(url).expect("an address");
    client.get_connection().expect("it connects")
}

fn session(conn: &mut Connection) -> RedisResult<()> {
    let _: () = redis::cmd("FLUSHALL").query(conn)?;
    let _: () = conn.set("text", "hello")?;
    assert_eq!(conn.get::<_, String>("text")?, "hello");
    assert_eq!(conn.get::<_, Option<String>>("none")?, None);
    assert_eq!(conn.append::<_, _, usize>("text", " you")?, 9);
    assert_eq!(conn.strlen::<_, usize>("text")?, 9);
    assert_eq!(conn.incr::<_, _, i64>("count", 5)?, 5);
    assert_eq!(conn.decr::<_, _, i64>("count", 2)?, 3);
    assert!(conn.set_nx::<_, _, bool>("once", 1)?);
    assert!(!conn.set_nx::<_, _, bool>("once", 2)?);
    assert!(conn.expire::<_, bool>("once", 100)?);
    assert!((1..=100).contains(&conn.ttl::<_, i64>("once")?));

    let pairs: Vec<(String, usize)> = (0..50).map(|n| (format!("m{n}"), n)).collect();
    let _: () = conn.mset(&pairs)?;
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    assert_eq!(
        conn.mget::<_, Vec<usize>>(&names)?,
        (0..50).collect::<Vec<_>>()
    );
    assert_eq!(conn.exists::<_, usize>(&names)?, 50);
    assert_eq!(conn.del::<_, usize>(&names)?, 50);

    let _: () = conn.hset_multiple("hash", &[("a", 1), ("b", 2)])?;
    let hash: HashMap<String, i32> = conn.hgetall("hash")?;
    assert_eq!(
        hash,
        HashMap::from([("a".to_string(), 1), ("b".to_string(), 2)])
    );
    assert_eq!(conn.hget::<_, _, Option<i32>>("hash", "c")?, None);

    assert_eq!(conn.rpush::<_, _, usize>("list", &["x", "y", "z"])?, 3);
    assert_eq!(
        conn.lrange::<_, Vec<String>>("list", 0, -1)?,
        ["x", "y", "z"]
    );
    assert_eq!(
        conn.lpop::<_, Option<String>>("list", None)?,
        Some("x".to_string())
    );

    assert_eq!(conn.sadd::<_, _, usize>("set", &[1, 2, 3])?, 3);
    assert_eq!(
        conn.smembers::<_, HashSet<i32>>("set")?,
        HashSet::from([1, 2, 3])
    );
    assert!(conn.sismember::<_, _, bool>("set", 2)?);

    let _: usize = conn.zadd_multiple("zset", &[(1.5, "a"), (-2.0, "b")])?;
    let scores: Vec<(String, f64)> = conn.zrange_withscores("zset", 0, -1)?;
    assert_eq!(scores, [("b".to_string(), -2.0), ("a".to_string(), 1.5)]);
    assert_eq!(conn.zscore::<_, _, Option<f64>>("zset", "none")?, None);

    let (set, got, count): (String, String, i64) = redis::pipe()
        .set("p1", "v")
        .get("p1")
        .incr("p2", 1)
        .query(conn)?;
    assert_eq!((set.as_str(), got.as_str(), count), ("OK", "v", 1));
    let script = "return {KEYS[1], tonumber(ARGV[1]) * 2}";
    let reply: (String, i64) = redis::cmd("EVAL")
        .arg(script)
        .arg(1)
        .arg("k")
        .arg(21)
        .query(conn)?;
    assert_eq!(reply, ("k".to_string(), 42));

    let wrong = conn.incr::<_, _, i64>("list", 1).expect_err("not a number");
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
    let apart: RedisResult<()> = conn.rename("text", "other");
    assert_eq!(apart.expect_err("two slots").code(), Some("CROSSSLOT"));
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let _: () = conn.set("binary", &binary)?;
    assert_eq!(conn.get::<_, Vec<u8>>("binary")?, binary);
    let info: redis::InfoDict = redis::cmd("INFO").query(conn)?;
    assert_eq!(
        info.get::<String>("redis_mode").as_deref(),
        Some("standalone")
    );
    Ok(())
}

#[test]
fn the_redis_crate_works() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let locked = Proxy::start(&cluster, &["-client-password", "secret"]);
    for protocol in ["resp2", "resp3"] {
        let of = |error| panic!("{protocol}: {error}");
        session(&mut connect(&proxy, "", protocol)).unwrap_or_else(of);
        session(&mut connect(&locked, ":secret@", protocol)).unwrap_or_else(of);
        session(&mut connect(&locked, "default:secret@", protocol)).unwrap_or_else(of);
        let url = format!("redis://:wrong@{}/?protocol={protocol}", locked.addr());
        let client = redis::Client::open(url).expect("an address");
        assert!(
            client.get_connection().is_err(),
            "{protocol}: a wrong password"
        );
    }
}
