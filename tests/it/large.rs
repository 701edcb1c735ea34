//! A lot at once: large values, long pipelines, and a client that does not read.

use crate::support::{
    self, Channel, Cluster, Conn, Model, Proxy, Random, Reply, Single, channel, wait_for,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

fn ground() -> &'static (Cluster, Proxy) {
    static GROUND: OnceLock<(Cluster, Proxy)> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(2, 0);
        let proxy = Proxy::start(&cluster, &[]);
        (cluster, proxy)
    })
}

/// Bytes that repeat nowhere in step with a buffer.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The reply to a GET, read in large pieces: the client of the other tests looks from the start each time.
fn read_bulk(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let head = format!("${length}\r\n");
    let mut reply = vec![0; head.len() + length + 2];
    stream.read_exact(&mut reply).expect("the whole reply");
    assert!(
        reply.starts_with(head.as_bytes()),
        "{}",
        reply[..20].escape_ascii()
    );
    assert!(reply.ends_with(b"\r\n"));
    reply[head.len()..head.len() + length].to_vec()
}

fn stream(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    stream
}

/// The same, or by TLS.
fn either(proxy: &Proxy) -> Box<dyn Channel> {
    let stream = channel(proxy.addr()).expect("it listens");
    let limit = Duration::from_secs(30);
    stream.set_read_timeout(limit).expect("a socket");
    stream
}

#[test]
fn large_values_are_whole() {
    let (_, proxy) = ground();
    for (number, length) in [20 << 20, (1 << 20) + 1, 16384, 16383, 65536, 65535]
        .into_iter()
        .enumerate()
    {
        let (key, value) = (format!("large{number}"), noise(length, number as u64 + 1));
        let mut stream = either(proxy);
        // Small requests before and behind, which must not be lost in the large one's shadow.
        stream.write_all(b"PING\r\n").expect("sent");
        stream
            .write_all(&Conn::encode(&[b"SET".as_slice(), key.as_bytes(), &value]))
            .expect("sent");
        stream
            .write_all(&Conn::encode(&["GET", &key]))
            .expect("sent");
        stream.write_all(b"PING\r\n").expect("sent");
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).expect("replies");
        if &reply != b"+PONG\r\n+OK\r\n" {
            let mut rest = [0; 100];
            let count = stream.read(&mut rest).expect("a reply");
            let (reply, rest) = (reply.escape_ascii(), rest[..count].escape_ascii());
            panic!("{length}: {reply}{rest}");
        }
        assert!(
            read_bulk(&mut stream, length) == value,
            "{length} bytes came back changed"
        );
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+PONG\r\n");
    }
}

#[test]
fn many_large_values_in_one_reply() {
    let (_, proxy) = ground();
    let mut conn = either(proxy);
    let values: Vec<Vec<u8>> = (0..12).map(|n| noise(1 << 20, n + 77)).collect();
    let keys: Vec<String> = (0..12).map(|n| format!("many{n}")).collect();
    let mut args = vec![b"MSET".to_vec()];
    for (key, value) in keys.iter().zip(&values) {
        args.extend([key.as_bytes().to_vec(), value.clone()]);
    }
    conn.write_all(&Conn::encode(&args)).expect("sent");
    let mut ok = [0; 5];
    conn.read_exact(&mut ok).expect("a reply");
    assert_eq!(&ok, b"+OK\r\n");
    conn.write_all(&Conn::encode(&[vec!["MGET".to_string()], keys].concat()))
        .expect("sent");
    let mut head = [0; 5];
    conn.read_exact(&mut head).expect("a reply");
    assert_eq!(&head, b"*12\r\n");
    for value in values {
        assert!(read_bulk(&mut conn, 1 << 20) == value);
    }
}

/// Values of all lengths, asked for one by one and many at once, in one long pipeline: what comes is what one server
/// says, byte for byte.
#[test]
fn values_of_all_lengths_in_one_pipeline_are_as_of_one_server() {
    let (_, proxy) = ground();
    let server = Single::start();
    let lengths = [
        0,
        1,
        100,
        4085,
        4097,
        16_370,
        16_376,
        16_384,
        20_000,
        32_768,
        65_536,
        70_000,
        200_000,
        1 << 20,
    ];
    let mut requests = Vec::new();
    for (number, length) in lengths.into_iter().enumerate() {
        let (key, value) = (format!("mix{number}"), noise(length, number as u64 + 9));
        requests.extend(Conn::encode(&[b"SET".as_slice(), key.as_bytes(), &value]));
        // Some of one slot.
        let key = format!("mix{{t}}{number}");
        requests.extend(Conn::encode(&[b"SET".as_slice(), key.as_bytes(), &value]));
    }
    let mut numbers = Random::new(3);
    let mut random = |below: usize| numbers.below(below);
    for _ in 0..400 {
        let mut key = || {
            // One more than there are; the longest are rare.
            let number = random(lengths.len() + 1);
            let number = if number >= 12 {
                random(lengths.len() + 1)
            } else {
                number
            };
            match random(3) {
                0 => format!("mix{{t}}{number}"),
                _ => format!("mix{number}"),
            }
        };
        let one = ["GET".to_string(), key()];
        let keys: Vec<String> = (0..6).map(|_| key()).collect();
        requests.extend(match random(5) {
            0 => Conn::encode(&[vec!["MGET".to_string()], keys].concat()),
            1 => Conn::encode(&[vec!["EXISTS".to_string()], keys].concat()),
            _ => Conn::encode(&one),
        });
    }
    requests.extend(Conn::encode(&["ECHO", "the end of all replies"]));
    let hears = |mut reader: TcpStream| {
        let mut writer = reader.try_clone().expect("a socket");
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&requests).expect("sent"));
            let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 16]);
            while !all.ends_with(b"the end of all replies\r\n") {
                let count = reader.read(&mut piece).expect("replies");
                assert!(count > 0, "closed after {} bytes", all.len());
                all.extend_from_slice(&piece[..count]);
            }
            all
        })
    };
    let connect = |addr: &str| TcpStream::connect(addr).expect("it listens");
    let (expected, came) = (hears(connect(&server.addr())), hears(connect(proxy.addr())));
    assert!(expected.len() > 20 << 20, "{}", expected.len());
    let differs = expected
        .iter()
        .zip(&came)
        .position(|(one, other)| one != other);
    assert_eq!((came.len(), differs), (expected.len(), None));
}

#[test]
fn a_hundred_thousand_requests_at_once() {
    let (_, proxy) = ground();
    let count = 100_000;
    let mut requests = Vec::new();
    for number in 0..count {
        let number = number.to_string();
        requests.extend(match number.as_bytes()[number.len() - 1] {
            b'0'..=b'4' => Conn::encode(&["ECHO", &number]),
            _ => Conn::encode(&["EVAL", "return ARGV[1]", "1", &number, &number]),
        });
    }
    let mut reader = stream(proxy);
    let mut writer = reader.try_clone().expect("a socket");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&requests).expect("sent"));
        // The proxy is well in it before anything is read.
        wait_for(
            "the proxy to take requests",
            Duration::from_secs(20),
            || (proxy.counter("proxy_commands") > 1000).then_some(()),
        );
        let expected: Vec<u8> = (0..count)
            .flat_map(|number: usize| {
                let number = number.to_string();
                format!("${}\r\n{number}\r\n", number.len()).into_bytes()
            })
            .collect();
        let mut came = vec![0; expected.len()];
        reader.read_exact(&mut came).expect("all replies");
        assert!(
            came == expected,
            "the replies are not those of the requests, in order"
        );
    });
}

/// Hundreds of megabytes are asked for by one who does not read: he is made to wait, nobody else, and the
/// proxy does not keep it all for him.
#[test]
fn a_slow_reader_is_alone_with_it() {
    let (cluster, _) = ground();
    let proxy = Proxy::start(cluster, &[]);
    let value = noise(1 << 20, 5);
    let mut slow = stream(&proxy);
    slow.write_all(&Conn::encode(&[b"SET".as_slice(), b"slow", &value]))
        .expect("sent");
    let mut ok = [0; 5];
    slow.read_exact(&mut ok).expect("a reply");
    // As long as he does not read, no more are taken than he may be owed.
    let (first, count) = (1, 300);
    let get = Conn::encode(&["GET", "slow"]);
    slow.write_all(&get.repeat(first)).expect("sent");
    wait_for(
        "the first replies at the proxy",
        Duration::from_secs(30),
        || (proxy.counter("proxy_backend_bytes_in") > (first as u64) << 20).then_some(()),
    );
    // He is owed as much as anybody may be: what he sends from here on waits to be taken.
    slow.write_all(&get.repeat(count - first)).expect("sent");
    std::thread::scope(|scope| {
        for number in 0..10 {
            let proxy = &proxy;
            scope.spawn(move || {
                let tags: Vec<String> = (0..20).map(|tag| tag.to_string()).collect();
                let mut model = Model::new(&format!("quick{number}"), &tags, number + 1);
                let mut conn = proxy.conn();
                for _ in 0..50 {
                    model.run(&mut conn, 20);
                }
            });
        }
    });
    let rss_kib = proxy.rss_kib();
    assert!(
        rss_kib < 60 << 10,
        "{rss_kib} KiB are kept for one who does not read"
    );
    for _ in 0..count {
        assert!(read_bulk(&mut slow, 1 << 20) == value);
    }
    slow.write_all(b"PING\r\n").expect("sent");
    let mut pong = [0; 7];
    slow.read_exact(&mut pong).expect("a reply");
    assert_eq!(proxy.conn().line("GET none"), Reply::NilBulk);
}

/// A request of so many keys that it is cut over many turns is one request still, whatever its client does
/// meanwhile.
#[test]
fn many_keys_are_one_request() {
    let (_, proxy) = ground();
    let count = 30_000;
    let keys: Vec<String> = (0..count).map(|key| format!("many:{key}")).collect();
    let pairs = keys.iter().enumerate();
    let pairs = pairs.flat_map(|(number, key)| [key.clone(), number.to_string()]);
    let mset: Vec<String> = std::iter::once("MSET".into()).chain(pairs).collect();
    let of_all = |name: &str| -> Vec<String> {
        std::iter::once(name.to_string())
            .chain(keys.iter().cloned())
            .collect()
    };
    let values: String = (0..count)
        .map(|number: usize| {
            let number = number.to_string();
            format!("${}\r\n{number}\r\n", number.len())
        })
        .collect();
    let mut requests = Conn::encode(&mset);
    requests.extend(Conn::encode(&of_all("MGET")));
    requests.extend(Conn::encode(&of_all("EXISTS")));
    requests.extend(Conn::encode(&["GET", "many:7"]));
    requests.extend(Conn::encode(&of_all("DEL")));
    let expected = format!("+OK\r\n*{count}\r\n{values}:{count}\r\n$1\r\n7\r\n:{count}\r\n");
    // All at once, and the end behind it.
    let mut stream = stream(proxy);
    let writer = {
        let mut stream = stream.try_clone().expect("a socket");
        std::thread::spawn(move || {
            stream.write_all(&requests).expect("sent");
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("it is open");
        })
    };
    let mut came = Vec::new();
    stream.read_to_end(&mut came).expect("all replies");
    writer.join().expect("it writes");
    assert!(came == expected.as_bytes(), "{} bytes", came.len());
    // All in one slot; and values without keys are refused as ever.
    let mut conn = proxy.conn();
    let tagged: Vec<String> = keys.iter().map(|key| format!("{{one}}{key}")).collect();
    let mut one = vec!["DEL".to_string()];
    one.extend(tagged);
    assert_eq!(conn.command(&one), Reply::Int(0));
    let odd = conn.command(&mset[..mset.len() - 1]);
    let text = "ERR wrong number of arguments for 'mset' command";
    assert_eq!(odd.error(), Some(text));
    assert_eq!(conn.line("PING"), "PONG");
}

/// A connection that speaks this version of the protocol; its greeting has been read.
fn speaking(addr: &str, resp3: bool) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("a socket");
    if resp3 {
        stream
            .write_all(b"HELLO 3\r\nECHO greeted\r\n")
            .expect("sent");
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"$7\r\ngreeted\r\n") {
            stream.read_exact(&mut byte).expect("a greeting");
            said.push(byte[0]);
        }
    }
    stream
}

/// All that is said to these requests, until an ECHO behind them is answered.
fn said(stream: &mut TcpStream, requests: &[Vec<u8>]) -> Vec<u8> {
    const END: &[u8] = b"$15\r\nthat was all of\r\n";
    let mut bytes = requests.concat();
    bytes.extend(Conn::encode(&["ECHO", "that was all of"]));
    let mut writer = stream.try_clone().expect("a socket");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&bytes).expect("sent"));
        let (mut said, mut block) = (Vec::new(), vec![0; 1 << 20]);
        while !said.ends_with(END) {
            let count = stream.read(&mut block).expect("replies");
            assert!(count > 0, "closed after {} bytes", said.len());
            said.extend_from_slice(&block[..count]);
        }
        said.truncate(said.len() - END.len());
        said
    })
}

#[test]
fn aggregates_of_many_elements_are_what_the_node_says() {
    let (cluster, proxy) = ground();
    // With so many no table of the node is between two sizes, so that it names all in the same order each time.
    const COUNT: usize = 120_000;
    let mut conn = stream(proxy);
    let value = |number: usize| match number % 10_000 {
        // Some are longer than a block, and some than nothing.
        7 => String::from_utf8(vec![b'v'; 70_000]).expect("text"),
        8 => String::new(),
        _ => format!("value:{number}"),
    };
    let mut fill = Vec::new();
    for (name, key) in [
        ("RPUSH", "wide:list"),
        ("SADD", "wide:set"),
        ("HSET", "wide:hash"),
    ] {
        let mut args = vec![name.to_string(), key.to_string()];
        for number in 0..COUNT {
            if name == "HSET" {
                args.push(format!("field:{number}"));
            }
            args.push(value(number));
        }
        fill.push(Conn::encode(&args));
    }
    assert!(said(&mut conn, &fill).starts_with(format!(":{COUNT}\r\n").as_bytes()));
    for resp3 in [false, true] {
        let mut ours = speaking(proxy.addr(), resp3);
        for request in [
            &["LRANGE", "wide:list", "0", "-1"][..],
            &["SMEMBERS", "wide:set"],
            &["HGETALL", "wide:hash"],
        ] {
            let node = cluster.master_of(support::slot_of(request[1]));
            let mut theirs = speaking(&format!("127.0.0.1:{node}"), resp3);
            // Alone, and with others before and behind it.
            let one = [Conn::encode(request)];
            let expected = said(&mut theirs, &one);
            assert!(expected.len() > COUNT * 10);
            assert!(
                said(&mut ours, &one) == expected,
                "{request:?}, RESP3: {resp3}"
            );
            let several = [
                &["GET", request[1]][..],
                request,
                request,
                &["TYPE", request[1]],
            ];
            let several = several.map(Conn::encode);
            let expected = said(&mut theirs, &several);
            assert!(
                said(&mut ours, &several) == expected,
                "{request:?} in a pipeline, RESP3: {resp3}"
            );
        }
    }
}

#[test]
fn replies_of_many_nodes_are_put_together_whatever_their_size() {
    const COUNT: usize = 200_000;
    // A cluster of its own: KEYS is to find nothing else.
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let name = |number: usize| format!("key:{number}");
    let value = |number: usize| match number % 20_000 {
        7 => String::from_utf8(vec![b'v'; 70_000]).expect("text"),
        number => format!("value:{number}"),
    };
    let mut conn = stream(&proxy);
    let mut mset = vec!["MSET".to_string()];
    (0..COUNT).for_each(|number| mset.extend([name(number), value(number)]));
    assert_eq!(said(&mut conn, &[Conn::encode(&mset)]), b"+OK\r\n");
    for resp3 in [false, true] {
        let mut ours = speaking(proxy.addr(), resp3);
        let mut mget = vec!["MGET".to_string()];
        let mut expected = format!("*{}\r\n", 2 * COUNT).into_bytes();
        // Every second key is not there.
        for number in (0..COUNT).rev() {
            mget.extend([name(number), format!("no:{number}")]);
            let value = value(number);
            let bulk = format!("${}\r\n{value}\r\n", value.len());
            expected.extend_from_slice(bulk.as_bytes());
            expected.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
        }
        assert!(
            said(&mut ours, &[Conn::encode(&mget)]) == expected,
            "RESP3: {resp3}"
        );
        let keys = said(&mut ours, &[Conn::encode(&["KEYS", "*"])]);
        let head = format!("*{COUNT}\r\n");
        assert!(keys.starts_with(head.as_bytes()));
        let text = std::str::from_utf8(&keys[head.len()..]).expect("text");
        let mut names: Vec<&str> = text.split("\r\n").skip(1).step_by(2).collect();
        names.sort_unstable();
        let mut all: Vec<String> = (0..COUNT).map(name).collect();
        all.sort_unstable();
        assert!(names == all, "RESP3: {resp3}");
        let len: usize = all
            .iter()
            .map(|name| format!("${}\r\n{name}\r\n", name.len()).len())
            .sum();
        assert_eq!(keys.len(), head.len() + len);
    }
}
