//! The scripts that the proxy has nodes run for namespaces, as far as their outcome is concerned: what concerns all keys of
//! a database, and what takes a value to another one.

use std::collections::BTreeMap;

use redis_cluster_proxy::proxy::namespace::across_databases::{DROP, TAKE};
use redis_cluster_proxy::proxy::namespace::whole_database::{COUNT, FLUSH, LIST, RANDOM, SCAN};

use super::{Data, null};
use crate::ledger::{ABSENT, Ledger};
use crate::resp;

/// What is served in one step of a scan.
const STEP: usize = 3;

/// What a value is when it is taken elsewhere: itself, as it is a text.
fn dump_of(data: &Data) -> Vec<u8> {
    match data {
        Data::Text(value) => value.clone(),
        other => panic!("{other:?} is taken elsewhere"),
    }
}

/// Runs one of these scripts, if it is one. `node` tells nodes apart.
pub fn run(
    data: &mut BTreeMap<Vec<u8>, Data>,
    node: usize,
    args: &[Vec<u8>],
    resp3: bool,
    ledger: &mut Ledger,
) -> Option<Vec<u8>> {
    let script = std::str::from_utf8(&args[1]).ok()?;
    let key = &args[3];
    let own = |data: &BTreeMap<Vec<u8>, Data>| -> Vec<Vec<u8>> {
        let own = data.keys().filter(|name| name.starts_with(key));
        own.cloned().collect()
    };
    let short = |name: &Vec<u8>| resp::bulk(&name[key.len()..]);
    let array =
        |items: &[Vec<u8>]| [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat();
    let reply = match script {
        COUNT => format!(":{}\r\n", own(data).len()).into_bytes(),
        LIST => {
            assert_eq!(args[5], b"*");
            let names: Vec<Vec<u8>> = own(data).iter().map(short).collect();
            array(&names)
        }
        SCAN => {
            // A key's place in the order never changes: it is its own number.
            let mark = format!("{node:03}");
            let cursor = std::str::from_utf8(&args[5]).expect("a cursor");
            let from = cursor
                .strip_suffix(&mark)
                .and_then(|from| from.parse().ok());
            let from: usize = from.unwrap_or(0);
            let step = from..from + STEP;
            let names = own(data);
            let names = names.iter().filter(|name| step.contains(&number_of(name)));
            let names: Vec<Vec<u8>> = names.map(short).collect();
            let cursor = match step.end {
                8.. => "0".to_string(),
                end => format!("{end}{mark}"),
            };
            array(&[resp::bulk(cursor.as_bytes()), array(&names)])
        }
        RANDOM => {
            let chance: usize = std::str::from_utf8(&args[5]).ok()?.parse().ok()?;
            match &own(data)[..] {
                [] => null(resp3),
                names => short(&names[chance % names.len()]),
            }
        }
        FLUSH => {
            for name in own(data) {
                data.remove(&name);
                let key = ledger.key(&name).expect("a key of ours");
                ledger.counted(key, ABSENT);
            }
            let mut all = ledger.databases.all.iter_mut();
            let database = all.find(|own| own.tag == *key).expect("a database");
            assert!(database.is_texts);
            database.flushed += 1;
            b"+OK\r\n".to_vec()
        }
        TAKE => match data.get(key).map(dump_of) {
            None => null(resp3),
            Some(dump) => {
                let parts = [&dump[..], b"-1", &mark_of(&dump)].map(resp::bulk);
                array(&parts)
            }
        },
        DROP => match data.get(key).map(dump_of) {
            None => null(resp3),
            Some(dump) if mark_of(&dump) != args[4] => b":0\r\n".to_vec(),
            Some(dump) => {
                ledger.databases.drops(&dump);
                data.remove(key);
                let key = ledger.key(key).expect("a key of ours");
                ledger.counted(key, ABSENT);
                b":1\r\n".to_vec()
            }
        },
        _ => return None,
    };
    Some(reply)
}

/// RESTORE: a value comes from elsewhere.
pub fn restore(
    data: &mut BTreeMap<Vec<u8>, Data>,
    args: &[Vec<u8>],
    ledger: &mut Ledger,
) -> Vec<u8> {
    let (name, dump) = (&args[1], &args[3]);
    let replaces = args.get(4).is_some_and(|option| option == b"REPLACE");
    if data.contains_key(name) && !replaces {
        return b"-BUSYKEY Target key name already exists.\r\n".to_vec();
    }
    let key = ledger.key(name).expect("a key of ours");
    let nonce = Ledger::nonce_of(dump).expect("a value of ours");
    assert_eq!(*dump, ledger.value(nonce), "the value was changed");
    ledger.counted(key, nonce as i64);
    ledger.databases.put(dump);
    data.insert(name.clone(), Data::Text(dump.clone()));
    b"+OK\r\n".to_vec()
}

/// Of a value: the number of what wrote it.
fn mark_of(dump: &[u8]) -> Vec<u8> {
    let nonce = Ledger::nonce_of(dump).expect("a value of ours");
    nonce.to_string().into_bytes()
}

/// The number at the end of a key's name.
fn number_of(name: &[u8]) -> usize {
    usize::from(name[name.len() - 1] - b'0')
}
