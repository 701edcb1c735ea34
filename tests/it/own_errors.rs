//! A script, a function and a module command may run and then answer in a server's own words for "not executed, go
//! elsewhere". Whatever they say, they run once, the client hears it as it was said, and nobody else hears of it.

use std::time::Duration;

use crate::support::{self, Cluster, Conn, Proxy, Reply, key_in_slot, wait_for};

/// It counts itself, and then says what it is told to say.
const SAY: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";
/// It has the text of `SAY` in it, which must not be taken for the name of a function.
const LIBRARY: &str = "#!lua name=saying\n\
    -- redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])\n\
    redis.register_function('say', function(keys, args) redis.call('INCR', keys[1]) return redis.error_reply(args[1]) end)";

/// All that a node says when it refuses, in its own words and in others, about this slot and of another node.
fn words(slot: u16, other: u16) -> Vec<String> {
    let mut words: Vec<String> = [
        "READONLY x",
        "READONLY You can't write against a read only replica.",
        "READONLY Can not run script with write flag on readonly replica",
        "LOADING x",
        "LOADING Redis is loading the dataset in memory",
        "LOADING Valkey is loading the dataset in memory",
        "CLUSTERDOWN x",
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        "CLUSTERDOWN Hash slot not served",
        "MASTERDOWN x",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "TRYAGAIN x",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "TRYAGAIN Slot is being trimmed",
        "MOVED 1 host:port",
        "ASK 1 host:port",
        "NOSCRIPT x",
        "NOSCRIPT No matching script. Please use EVAL.",
        "NOSCRIPT No matching script.",
        "ERR Function not found",
        "ERR max number of clients reached",
        "ERR x",
        "EXECABORT Transaction discarded because of: LOADING Redis is loading the dataset in memory",
        "EXECABORT Transaction discarded because of previous errors.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM this user has no permissions to run the 'eval' command",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "CROSSSLOT Keys in request don't hash to the same slot",
    ]
    .map(str::to_string)
    .to_vec();
    for word in ["MOVED", "ASK"] {
        for endpoint in [format!("127.0.0.1:{other}"), format!(":{other}")] {
            words.push(format!("{word} {slot} {endpoint}"));
            words.push(format!("{word} {} {endpoint}", slot ^ 1));
        }
    }
    words
}

fn error(reply: &Reply) -> &str {
    reply.error().unwrap_or_else(|| panic!("{reply:?}"))
}

/// How something that runs once is asked for, for a key and words.
type Ask<'a> = Box<dyn Fn(&mut Conn, &str, &str) -> Reply + 'a>;

fn with_modules() -> Cluster {
    let flags = [
        "--enable-module-command",
        "yes",
        "--enable-debug-command",
        "yes",
        // A master that gets no processor for a second is not taken for dead: nobody is to be sent elsewhere.
        "--cluster-node-timeout",
        "15000",
    ];
    Cluster::start_with(3, 0, &flags)
}

/// The one reply in that of EXEC.
fn in_transaction(conn: &mut Conn, queued: Vec<&str>) -> Reply {
    let all = [vec!["MULTI"], queued, vec!["EXEC"]];
    let mut replies = conn.pipeline(&all);
    let last = replies.pop().expect("EXEC is answered");
    assert_eq!(
        replies,
        ["OK", "QUEUED"].map(|text| Reply::Simple(text.into()))
    );
    assert_eq!(last.items().len(), 1, "{last:?}");
    last.items()[0].clone()
}

#[test]
fn whatever_is_said_it_runs_once() {
    let cluster = with_modules();
    let slot = 12182;
    let (owner, key) = (cluster.master_of(slot), key_in_slot(slot, "counter"));
    let other = cluster.masters().into_iter().find(|port| *port != owner);
    let other = other.expect("another");
    let path = support::module::file();
    for port in cluster.ports() {
        assert_eq!(cluster.raw(port).command(&["MODULE", "LOAD", path]), "OK");
    }
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let sha = conn.command(&["SCRIPT", "LOAD", SAY]).text();
    assert_eq!(
        conn.command(&["FUNCTION", "LOAD", LIBRARY]).text(),
        "saying"
    );
    wait_for("the module's command", Duration::from_secs(20), || {
        let reply = conn.command(&["PROBE.SAY", &key, "x"]);
        (error(&reply) == "x").then_some(())
    });
    let say_alone = |words: &str| format!("{SAY} -- {words}");
    let asks: Vec<(&str, Ask<'_>)> = vec![
        (
            "EVAL of its own",
            Box::new(|conn, key, words| {
                conn.command(&["EVAL", &say_alone(words), "1", key, words])
            }),
        ),
        (
            "EVAL",
            Box::new(|conn, key, words| conn.command(&["EVAL", SAY, "1", key, words])),
        ),
        (
            "EVALSHA",
            Box::new(|conn, key, words| conn.command(&["EVALSHA", &sha, "1", key, words])),
        ),
        (
            "FCALL",
            Box::new(|conn, key, words| conn.command(&["FCALL", "say", "1", key, words])),
        ),
        (
            "module",
            Box::new(|conn, key, words| conn.command(&["PROBE.SAY", key, words])),
        ),
        (
            "EVAL in MULTI",
            Box::new(|conn, key, words| in_transaction(conn, vec!["EVAL", SAY, "1", key, words])),
        ),
        (
            "EVALSHA in MULTI",
            Box::new(|conn, key, words| {
                in_transaction(conn, vec!["EVALSHA", &sha, "1", key, words])
            }),
        ),
        (
            "FCALL in MULTI",
            Box::new(|conn, key, words| {
                in_transaction(conn, vec!["FCALL", "say", "1", key, words])
            }),
        ),
    ];
    let mut bystander = proxy.conn();
    let neighbour = key_in_slot(slot, "neighbour");
    for protocol in ["2", "3"] {
        assert!(!conn.command(&["HELLO", protocol]).is_error());
        for (name, ask) in &asks {
            for words in words(slot, other) {
                conn.command(&["DEL", &key]);
                let reply = ask(&mut conn, &key, &words);
                assert_eq!(error(&reply), words, "{name}");
                assert_eq!(
                    conn.command(&["GET", &key]).text(),
                    "1",
                    "{name} said {words:?}"
                );
                for plain in [
                    vec!["SET", &neighbour, "x"],
                    vec!["GET", &neighbour],
                    vec!["DBSIZE"],
                ] {
                    let reply = bystander.command(&plain);
                    assert!(
                        !reply.is_error(),
                        "{plain:?} got {reply:?} after {name} said {words:?}"
                    );
                }
            }
        }
    }
    for counter in [
        "expired",
        "retries",
        "moved",
        "ask",
        "tryagain",
        "unavailable",
        "healed",
    ] {
        assert_eq!(proxy.counter(&format!("proxy_{counter}")), 0, "{counter}");
    }
    let count = |name: &str| proxy.counter(&format!("proxy_{name}"));
    assert!(count("disbelieved") > 30 && count("disbelieved") == count("doubted"));
}

/// What runs without a key, or at a replica, can say as much.
#[test]
fn what_names_no_key_and_what_runs_at_a_replica_is_not_believed_either() {
    let cluster = Cluster::start_with(3, 1, &["--enable-debug-command", "yes"]);
    let proxy = Proxy::start(&cluster, &["-read-prefer", "1"]);
    let mut conn = proxy.conn();
    let library = "#!lua name=reading\n\
        redis.register_function{function_name='read', flags={'no-writes'}, callback=function(keys, args) return redis.error_reply(args[1]) end}";
    assert_eq!(
        conn.command(&["FUNCTION", "LOAD", library]).text(),
        "reading"
    );
    let slot = 12182;
    let (owner, key) = (cluster.master_of(slot), key_in_slot(slot, "counter"));
    let other = cluster.masters().into_iter().find(|port| *port != owner);
    for (number, words) in words(slot, other.expect("another")).iter().enumerate() {
        let say = format!("return redis.error_reply(ARGV[1]) -- {number}");
        for command in [
            vec!["EVAL", &say, "0", words],
            vec!["EVAL_RO", &say, "0", words],
            vec!["EVAL_RO", &say, "1", &key, words],
            vec!["FCALL_RO", "read", "1", &key, words],
            vec!["DEBUG", "ERROR", words],
        ] {
            assert_eq!(error(&conn.command(&command)), words, "{command:?}");
            assert!(conn.command(&["GET", &key]).is_nil());
            assert!(!conn.command(&["DBSIZE"]).is_error());
        }
    }
    assert_eq!(
        proxy.counter("proxy_expired") + proxy.counter("proxy_retries"),
        0
    );
}

/// Requests of one client for one key run in the order sent, whatever one of them says.
#[test]
fn order_is_kept_around_what_is_not_believed() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let key = key_in_slot(12182, "counter");
    for (number, words) in words(12182, cluster.master_of(0)).iter().enumerate() {
        let say = format!("{SAY} -- {number}");
        conn.command(&["DEL", &key]);
        let eval = || vec!["EVAL", &say, "1", &key, words];
        let plain = |name: &'static str| vec![name, &key];
        let replies = conn.pipeline(&[
            plain("INCR"),
            eval(),
            plain("INCR"),
            plain("GET"),
            eval(),
            eval(),
            plain("INCR"),
            plain("GET"),
        ]);
        for place in [1, 4, 5] {
            assert_eq!(error(&replies[place]), words);
        }
        let ints = [0, 2, 6].map(|place| replies[place].int());
        assert_eq!(ints, [1, 3, 6], "{words}");
        assert_eq!(
            [replies[3].text(), replies[7].text()],
            ["3", "6"],
            "{words}"
        );
    }
}

/// What does not lie is not harmed: while slots move and masters change, each script runs once and shows no error.
#[test]
fn planned_work_shows_no_error_to_scripts() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let count = "redis.call('INCR', KEYS[1]) return redis.call('INCRBY', KEYS[1], 0)";
    let named = format!("{count} -- by its name");
    let sha = conn.command(&["SCRIPT", "LOAD", &named]).text();
    let library = "#!lua name=counting\n\
        redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)";
    assert_eq!(
        conn.command(&["FUNCTION", "LOAD", library]).text(),
        "counting"
    );
    let slot = 12182;
    let counters = ["EVAL", "EVALSHA", "FCALL"];
    let names = [count, &sha, "count"];
    let from = cluster.master_of(slot);
    let to = cluster
        .masters()
        .into_iter()
        .find(|port| *port != from)
        .expect("another");
    // ASK: the keys are made where the slot goes.
    cluster.begin_migration(slot, from, to);
    for (counter, name) in counters.iter().zip(names) {
        let key = key_in_slot(slot, counter);
        assert_eq!(conn.command(&[counter, name, "1", &key]).int(), 1);
    }
    // TRYAGAIN: one key is there and one is here, until it has moved, too.
    let here = key_in_slot(slot, "here");
    assert_eq!(
        cluster
            .raw(from)
            .command(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]),
        "OK"
    );
    assert_eq!(conn.command(&["SET", &here, "1"]), "OK");
    cluster.begin_migration(slot, from, to);
    let waiting: Vec<_> = counters
        .iter()
        .zip(names)
        .map(|(counter, name)| {
            let (mut conn, key, here) = (proxy.conn(), key_in_slot(slot, counter), here.clone());
            let words = [counter, name, "2"].map(str::to_string);
            std::thread::spawn(move || conn.command(&[&words[..], &[key, here]].concat()))
        })
        .collect();
    wait_for("TRYAGAIN", Duration::from_secs(20), || {
        (proxy.counter("proxy_tryagain") >= 3).then_some(())
    });
    while cluster.move_keys(slot, from, to, 10) > 0 {}
    for waiting in waiting {
        assert_eq!(waiting.join().expect("it is answered").int(), 2);
    }
    // MOVED: nobody has told the proxy yet.
    cluster.end_migration(slot, from, to);
    for (counter, name) in counters.iter().zip(names) {
        let key = key_in_slot(slot, counter);
        assert_eq!(conn.command(&[counter, name, "1", &key]).int(), 3);
    }
    // A master hands over.
    let replica = cluster.replicas_of(to)[0];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hammers: Vec<_> = counters
        .iter()
        .zip(names)
        .map(|(counter, name)| {
            let (mut conn, key, stop) = (proxy.conn(), key_in_slot(slot, counter), stop.clone());
            let words = [counter, name, "1", &key].map(str::to_string);
            std::thread::spawn(move || {
                let mut count = 3;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    count += 1;
                    assert_eq!(conn.command(&words), Reply::Int(count));
                }
                count
            })
        })
        .collect();
    cluster.failover(replica);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for (hammer, counter) in hammers.into_iter().zip(counters) {
        let count = hammer.join().expect("no error is shown");
        assert_eq!(
            conn.command(&["GET", &key_in_slot(slot, counter)]).text(),
            count.to_string()
        );
    }
    assert!(proxy.counter("proxy_doubted") >= 6);
    assert_eq!(proxy.counter("proxy_disbelieved"), 0);
}

/// A script that has made up a redirect meets a true one: the true one is followed.
#[test]
fn a_script_that_made_up_a_redirect_follows_a_true_one() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let slot = 12182;
    let key = key_in_slot(slot, "true");
    let script = "redis.call('INCR', KEYS[1]) if ARGV[1] == '' then return 'done' end \
        return redis.error_reply(ARGV[1])";
    for word in ["ASK", "MOVED"] {
        let said = format!("{word} {slot} 127.0.0.1:1");
        let reply = conn.command(&["EVAL", script, "1", &key, &said]);
        assert_eq!(error(&reply), said);
    }
    assert_eq!(proxy.counter("proxy_disbelieved"), 2);
    assert_eq!(conn.command(&["DEL", &key]).int(), 1);
    let from = cluster.master_of(slot);
    let mut masters = cluster.masters().into_iter();
    let to = masters.find(|port| *port != from).expect("another");
    cluster.begin_migration(slot, from, to);
    assert_eq!(
        conn.command(&["EVAL", script, "1", &key, ""]).text(),
        "done"
    );
    while cluster.move_keys(slot, from, to, 10) > 0 {}
    cluster.end_migration(slot, from, to);
    assert_eq!(
        conn.command(&["EVAL", script, "1", &key, ""]).text(),
        "done"
    );
    assert_eq!(conn.command(&["GET", &key]).text(), "2");
}
