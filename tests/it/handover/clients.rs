//! What becomes of single clients in a hand-over, by what they are doing.

use std::time::Duration;

use super::{LONG, Place, ends_well, served_by};
use crate::support::{Cluster, Conn, Reply, wait_for};

fn open(place: &Place, at: usize) -> Conn {
    let mut conn = Conn::connect(&place.addrs[at]);
    conn.set_deadline(LONG);
    conn
}

#[test]
fn idle_clients_keep_their_connections_and_what_they_had_set() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let flags = ["-client-password", "sesame", "-max-procs", "2"];
    let old = place.start(&cluster, &flags);
    let logged_in = |at: usize| {
        let mut conn = open(&place, at);
        assert_eq!(conn.line("AUTH sesame"), "OK");
        conn
    };
    let mut many: Vec<Conn> = (0..200).map(|at| logged_in(at % 3)).collect();
    let mut stranger = open(&place, 0);
    assert!(stranger.line("PING").is_error());
    let mut muted = logged_in(0);
    muted.send("CLIENT REPLY OFF\r\nSET muted 1\r\n");
    let mut half = logged_in(2);
    half.send("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nva");
    let mut monitor = logged_in(1);
    assert_eq!(monitor.line("MONITOR"), "OK");
    let mut watching = logged_in(0);
    assert_eq!(watching.line("WATCH watched"), "OK");
    let new = place.succeed(&cluster, &flags);
    for conn in &mut many {
        assert_eq!(conn.line("SET key value"), "OK");
    }
    assert!(
        stranger
            .line("GET key")
            .error()
            .is_some_and(|error| error.starts_with("NOAUTH"))
    );
    muted.send("SET muted 2\r\nCLIENT REPLY ON\r\n");
    assert_eq!(muted.read_reply(), "OK", "of CLIENT REPLY ON alone");
    assert_eq!(muted.line("GET muted").text(), "2");
    half.send("lue\r\n");
    assert_eq!(half.read_reply(), "OK");
    assert_eq!(half.line("GET half").text(), "value");
    // Before that come requests that it was shown by the old process or the new one.
    let mut shown = Vec::new();
    wait_for("the monitor to be shown a request", LONG, || {
        many[0].line("GET shown");
        shown.extend(monitor.read_for(Duration::from_millis(20)).expect("open"));
        let shown = String::from_utf8_lossy(&shown);
        shown.contains("\"shown\"").then_some(())
    });
    // The old process serves whoever watches until that ends.
    assert_eq!(watching.line("GET key").text(), "value");
    assert_eq!(watching.line("MULTI"), "OK");
    assert_eq!(watching.line("INCR watched"), "QUEUED");
    assert_eq!(watching.line("EXEC").items(), [Reply::Int(1)]);
    ends_well(old);
    assert_eq!(served_by(&mut watching), new.pid());
    assert!(number(&mut watching, "connected_clients") >= 200);
    drop((many, stranger, muted, half, monitor));
    wait_for("only one client to be left", LONG, || {
        (number(&mut watching, "connected_clients") == 1).then_some(())
    });
    assert!(new.stop().success());
}

fn number(conn: &mut Conn, name: &str) -> u64 {
    conn.info("clients")[name].parse().expect("a number")
}

#[test]
fn who_does_not_end_in_time_is_sent_away_and_loses_no_element() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let flags = ["-drain-timeout", "1s"];
    let old = place.start(&cluster, &flags);
    let (mut blocked, mut open_for_ever) = (open(&place, 0), open(&place, 1));
    blocked.send("BLPOP queue 0\r\n");
    assert_eq!(open_for_ever.line("MULTI"), "OK");
    assert_eq!(open_for_ever.line("SET never 1"), "QUEUED");
    let new = place.succeed(&cluster, &flags);
    ends_well(old);
    assert!(!blocked.is_open(Duration::from_secs(5)));
    assert!(!open_for_ever.is_open(Duration::from_secs(5)));
    // The node lets go of it when it reads that it is closed.
    let mut node = cluster.raw(cluster.ports()[0]);
    wait_for("nobody to be blocked any more", LONG, || {
        (number(&mut node, "blocked_clients") == 0).then_some(())
    });
    let mut conn = open(&place, 0);
    assert_eq!(conn.line("RPUSH queue a").int(), 1);
    assert_eq!(
        conn.line("LLEN queue").int(),
        1,
        "nobody is blocked any more"
    );
    assert!(conn.line("GET never").is_nil());
    assert_eq!(served_by(&mut conn), new.pid());
}

#[test]
fn clients_of_namespaces_stay_in_them() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let own = format!("unix:{}", place.path("jobs.sock").display());
    let addrs = format!("jobs={own}");
    let flags = ["-namespace-addrs", &addrs];
    let old = place.start(&cluster, &flags);
    let mut inside = Conn::connect(&own);
    assert_eq!(inside.line("SET key inside"), "OK");
    assert_eq!(inside.line("SUBSCRIBE news").items()[2].int(), 1);
    let new = place.succeed(&cluster, &flags);
    ends_well(old);
    assert_eq!(open(&place, 0).line("PUBLISH news hello").int(), 1);
    assert_eq!(inside.read_reply().items()[2].text(), "hello");
    assert!(inside.line("UNSUBSCRIBE").items()[1].text() == "news");
    assert_eq!(inside.line("GET key").text(), "inside");
    assert_eq!(served_by(&mut inside), new.pid());
    // Nor does it leave by RESET.
    assert_eq!(inside.line("RESET").text(), "RESET");
    assert_eq!(inside.line("GET key").text(), "inside");
    // Those who come now are in it, too.
    assert_eq!(Conn::connect(&own).line("GET key").text(), "inside");
    assert!(open(&place, 0).line("GET key").is_nil());
}

#[cfg(feature = "tls")]
#[test]
fn tls_clients_stay_with_the_old_process_until_they_end() {
    use crate::support::{Port, tls};
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let port = Port::reserve();
    let address = format!("127.0.0.1:{}", port.number());
    let more = tls::client_side(&address);
    let flags: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut old = place.start(&cluster, &flags);
    let secret = format!("tls:{address}");
    let mut stays = Conn::connect(&secret);
    assert_eq!(stays.line("SET key value"), "OK");
    let new = place.succeed(&cluster, &flags);
    assert_eq!(served_by(&mut stays), old.pid());
    assert_eq!(served_by(&mut Conn::connect(&secret)), new.pid());
    assert_eq!(stays.line("GET key").text(), "value");
    assert!(old.is_running());
    drop(stays);
    ends_well(old);
}
