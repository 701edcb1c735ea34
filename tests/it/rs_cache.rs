//! The cache of the redis crate (`CacheConfig`): replies are kept in the client and dropped when the proxy says that their
//! keys have changed. Nothing of it knows that it speaks to a proxy.

use std::rc::Rc;
use std::time::Duration;

use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::caching::{CacheConfig, CacheMode, CacheStatistics};
use redis::{AsyncConnectionConfig, Cmd, CommandCacheConfig, FromRedisValue, Pipeline, cmd, pipe};
use tokio::runtime::{Builder, Runtime};

use crate::clients::rs_client;
use crate::support::{Cluster, Proxy, slot_of, wait_for};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn runtime() -> Rc<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    Rc::new(runtime.expect("a runtime"))
}

/// What a program has in hand: a connection with a cache, and what runs it.
struct Session<C> {
    runtime: Rc<Runtime>,
    conn: C,
    statistics: fn(&C) -> Option<CacheStatistics>,
}

type Plain = Session<MultiplexedConnection>;

fn connect(runtime: &Rc<Runtime>, proxy: &Proxy, cache: CacheConfig) -> Plain {
    let config = AsyncConnectionConfig::new().set_cache_config(cache);
    let config = config.set_response_timeout(Some(LONG));
    let client = rs_client(proxy, "?protocol=resp3");
    let conn = client.get_multiplexed_async_connection_with_config(&config);
    Session {
        runtime: runtime.clone(),
        conn: runtime.block_on(conn).expect("a connection"),
        statistics: MultiplexedConnection::get_cache_statistics,
    }
}

impl<C: ConnectionLike> Session<C> {
    fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        let reply = self.runtime.block_on(command.query_async(&mut self.conn));
        reply.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn pipeline<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> T {
        let reply = self.runtime.block_on(pipeline.query_async(&mut self.conn));
        reply.expect("a pipeline")
    }

    fn get(&mut self, key: &str) -> Option<String> {
        self.run(cmd("GET").arg(key))
    }

    /// Replies that came from the cache.
    fn hits(&self) -> usize {
        (self.statistics)(&self.conn).expect("a cache").hit
    }

    /// The same command twice: the second reply comes from the cache.
    #[track_caller]
    fn is_kept<T: FromRedisValue + PartialEq + std::fmt::Debug>(&mut self, command: &Cmd) -> T {
        let first: T = self.run(command);
        let hits = self.hits();
        assert_eq!(self.run::<T>(command), first);
        assert!(self.hits() > hits, "{command:?}");
        first
    }

    /// Waits until it has heard that this is the reply now.
    #[track_caller]
    fn hears<T: FromRedisValue + PartialEq>(&mut self, command: &Cmd, expected: &T) {
        wait_for("an invalidation", LONG, || {
            // What comes is read while something is waited for, and a hit waits for nothing.
            let _: String = self.run(&cmd("PING"));
            (self.run::<T>(command) == *expected).then_some(())
        });
    }
}

fn text(value: &str) -> Option<String> {
    Some(value.to_string())
}

#[test]
fn what_the_client_keeps_is_dropped_when_it_changes() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let runtime = runtime();
    let mut one = connect(&runtime, &proxy, CacheConfig::new());
    let mut two = connect(&runtime, &proxy, CacheConfig::new());
    each_hears_of_writes_of_all(&cluster, &proxy, &mut one, &mut two);
    keys_of_all_nodes_in_one_request(&cluster, &mut one, &mut two);
    a_transaction_reads(&mut one, &mut two);
    a_key_ends(&mut one);
    everything_is_flushed(&mut one, &mut two);
    only_what_it_asks_for(&runtime, &proxy, &mut two);
    it_connects_again(&runtime, &proxy, &mut two);
}

fn each_hears_of_writes_of_all(cluster: &Cluster, proxy: &Proxy, one: &mut Plain, two: &mut Plain) {
    let get = cmd("GET").arg("k").clone();
    one.run::<()>(cmd("SET").arg("k").arg("first"));
    one.hears(&get, &text("first"));
    for session in [&mut *one, &mut *two] {
        assert_eq!(session.is_kept::<Option<String>>(&get), text("first"));
    }
    // Neither the proxy nor a node is asked.
    let before = proxy.counter("proxy_commands");
    for _ in 0..100 {
        assert_eq!(one.get("k"), text("first"));
    }
    assert!(proxy.counter("proxy_commands") - before < 50);
    let mut node = cluster.raw(cluster.master_of(slot_of("k")));
    for number in 0..30 {
        let value = number.to_string();
        match number % 3 {
            0 => assert_eq!(node.command(&["SET", "k", &value]), "OK"),
            1 => two.run::<()>(cmd("SET").arg("k").arg(&value)),
            _ => one.run::<()>(cmd("SET").arg("k").arg(&value)),
        }
        for session in [&mut *one, &mut *two] {
            session.hears(&get, &Some(value.clone()));
        }
    }
    // Of other types: several commands of one key are dropped together.
    two.run::<()>(cmd("HSET").arg("h").arg("a").arg(1));
    let (field, all) = (
        cmd("HGET").arg("h").arg("a").clone(),
        cmd("HLEN").arg("h").clone(),
    );
    assert_eq!(one.is_kept::<i64>(&field), 1);
    assert_eq!(one.is_kept::<i64>(&all), 1);
    node = cluster.raw(cluster.master_of(slot_of("h")));
    node.command(&["HSET", "h", "a", "2", "b", "3"]);
    one.hears(&field, &2i64);
    one.hears(&all, &2i64);
}

fn keys_of_all_nodes_in_one_request(cluster: &Cluster, one: &mut Plain, two: &mut Plain) {
    let keys: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    let mget = cmd("MGET").arg(&keys).clone();
    let mut expected: Vec<Option<String>> = vec![None; keys.len()];
    for (at, key) in keys.iter().enumerate().skip(1) {
        two.run::<()>(cmd("SET").arg(key).arg(at));
        expected[at] = Some(at.to_string());
    }
    one.hears(&mget, &expected);
    assert_eq!(one.is_kept::<Vec<Option<String>>>(&mget), expected);
    for (at, key) in keys.iter().enumerate() {
        if at % 2 == 0 {
            two.run::<()>(cmd("SET").arg(key).arg("two"));
            expected[at] = text("two");
        } else {
            let mut node = cluster.raw(cluster.master_of(slot_of(key)));
            node.command(&["DEL", key]);
            expected[at] = None;
        }
        one.hears(&mget, &expected);
    }
}

/// What is read in a transaction is kept by the client, too.
fn a_transaction_reads(one: &mut Plain, two: &mut Plain) {
    for number in 0..10 {
        let (a, b) = (format!("{{t}}a{number}"), format!("{{t}}b{number}"));
        for key in [&a, &b] {
            two.run::<()>(cmd("SET").arg(key).arg("old"));
        }
        let values: (String, String) = one.pipeline(pipe().atomic().get(&a).get(&b));
        assert_eq!(values, ("old".to_string(), "old".to_string()));
        for key in [&a, &b] {
            two.run::<()>(cmd("SET").arg(key).arg("new"));
            one.hears(&cmd("GET").arg(key).clone(), &text("new"));
        }
    }
}

/// The client asks for the TTL of what it keeps.
fn a_key_ends(one: &mut Plain) {
    wait_for("a read before the end", LONG, || {
        one.run::<()>(cmd("SET").arg("ends").arg("v").arg("PX").arg(300));
        let _: String = one.run(&cmd("PING"));
        // On a busy machine it may have ended.
        (one.get("ends") == text("v")).then_some(())
    });
    std::thread::sleep(Duration::from_millis(301));
    assert_eq!(one.get("ends"), None);
}

fn everything_is_flushed(one: &mut Plain, two: &mut Plain) {
    let keys: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let mget = cmd("MGET").arg(&keys).clone();
    for key in &keys {
        two.run::<()>(cmd("SET").arg(key).arg("v"));
    }
    one.hears(&mget, &vec![text("v"); keys.len()]);
    let _: Vec<Option<String>> = one.is_kept(&mget);
    two.run::<()>(&cmd("FLUSHALL"));
    one.hears(&mget, &vec![None::<String>; keys.len()]);
}

/// `OPTIN`: a command is kept that says so.
fn only_what_it_asks_for(runtime: &Rc<Runtime>, proxy: &Proxy, other: &mut Plain) {
    let cache = CacheConfig::new().set_mode(CacheMode::OptIn);
    let mut session = connect(runtime, proxy, cache);
    let keep = CommandCacheConfig::new().set_enable_cache(true);
    let plain = cmd("GET").arg("o1").clone();
    let chosen = cmd("GET").arg("o2").set_cache_config(keep.clone()).clone();
    for number in 0..5 {
        for key in ["o1", "o2"] {
            other.run::<()>(cmd("SET").arg(key).arg(number));
        }
        session.hears(&chosen, &number);
        assert_eq!(session.is_kept::<i32>(&chosen), number);
        let hits = session.hits();
        for _ in 0..3 {
            assert_eq!(session.run::<i32>(&plain), number);
        }
        assert_eq!(session.hits(), hits);
        // Of keys of two nodes.
        let mget = cmd("MGET")
            .arg("o1")
            .arg("o2")
            .set_cache_config(keep.clone())
            .clone();
        session.hears(&mget, &vec![number, number]);
        let _: Vec<i32> = session.is_kept(&mget);
    }
}

/// The proxy drops the connection: what was kept before is asked for anew.
fn it_connects_again(runtime: &Rc<Runtime>, proxy: &Proxy, other: &mut Plain) {
    let config = ConnectionManagerConfig::new().set_cache_config(CacheConfig::new());
    let config = config.set_response_timeout(Some(LONG));
    let client = rs_client(proxy, "?protocol=resp3");
    let manager = ConnectionManager::new_with_config(client, config);
    let mut session = Session {
        runtime: runtime.clone(),
        conn: runtime.block_on(manager).expect("a connection"),
        statistics: ConnectionManager::get_cache_statistics,
    };
    let get = cmd("GET").arg("again").clone();
    for number in 0..3 {
        other.run::<()>(cmd("SET").arg("again").arg(number));
        session.hears(&get, &number);
        assert_eq!(session.is_kept::<i32>(&get), number);
        let id: i64 = session.run(cmd("CLIENT").arg("ID"));
        let killed: i64 = other.run(cmd("CLIENT").arg("KILL").arg("ID").arg(id));
        assert_eq!(killed, 1);
        // Nobody is told of this one.
        other.run::<()>(cmd("SET").arg("again").arg("-1"));
        wait_for("a connection", LONG, || {
            let ping = cmd("PING");
            let pong = ping.query_async::<String>(&mut session.conn);
            session.runtime.block_on(pong).ok()
        });
        assert_eq!(session.run::<i32>(&get), -1);
        assert_eq!(session.is_kept::<i32>(&get), -1);
    }
}
