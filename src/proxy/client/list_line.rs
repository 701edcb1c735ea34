//! The line of `CLIENT LIST` and `CLIENT INFO` that is one client's: the fields of Redis 7.2 in their order,
//! then the bytes that went either way, the commands and the keys watched, as later servers have them.

use std::net::SocketAddr;

use crate::clock::Time;
use crate::command::Table;
use crate::config::Listen;
use crate::proxy::client::{Client, Stall};
use crate::proxy::lease::state::Work;
use crate::proxy::pubsub::state::kind::Kind;

/// What Redis keeps of an output within the client itself; only what is beyond counts as a list.
const OUTPUT_BLOCK: usize = 16 << 10;

impl Client {
    /// Its line, with the newline.
    pub(in crate::proxy) fn line(&self, table: &Table, now: Time) -> String {
        let identity = self.session.identity();
        let text = |bytes: Option<&Vec<u8>>| {
            String::from_utf8_lossy(bytes.map_or(&[], |bytes| bytes)).into_owned()
        };
        let command = match self.pipeline.last_command {
            u16::MAX => "NULL",
            id => &table.row(id).name,
        };
        let subscriptions = |kind| {
            let own = self.session.subscriptions();
            own.map_or(0, |own| own.len(kind))
        };
        let owed = self.owed_bytes();
        let own = owed.min(OUTPUT_BLOCK);
        let beyond = owed - own;
        let (request, argv) = self.at_hand;
        let input = self.unexecuted_bytes() + request;
        let storage = self.output.storage_len();
        let (multi, watch, multi_mem) = self.transaction();
        format!(
            "id={id} addr={addr} laddr={laddr} fd={fd} name={name} age={age} idle={idle} flags={flags} \
             db={database} sub={sub} psub={psub} ssub={ssub} multi={multi} qbuf={input} qbuf-free={free} argv-mem={argv} multi-mem={multi_mem} rbs={storage} \
             rbp=0 obl={own} oll={oll} omem={beyond} tot-mem={memory} events={events} cmd={command} \
             user={user} redir={redirection} resp={resp} lib-name={lib_name} lib-ver={lib_ver} \
             tot-net-in={bytes_in} tot-net-out={bytes_out} tot-cmds={commands} watch={watch}\n",
            id = self.session.number,
            user = String::from_utf8_lossy(&self.session.user().name),
            addr = self.peer_name(),
            laddr = self.local_name(),
            fd = self.descriptor,
            name = text(identity.map(|identity| &identity.name)),
            age = now.since(self.connected_at).as_secs(),
            idle = now.since(self.last_active).as_secs(),
            flags = self.flags(),
            redirection = self.session.redirection(),
            sub = subscriptions(Kind::Channel),
            psub = subscriptions(Kind::Pattern),
            ssub = subscriptions(Kind::Shard),
            free = self.free_input_bytes(),
            database = self.session.shown_database(),
            oll = beyond.div_ceil(OUTPUT_BLOCK),
            memory = size_of::<Client>()
                + self.unexecuted_bytes()
                + self.free_input_bytes()
                + storage
                + self.pipeline.ready_bytes()
                + multi_mem,
            events = if self.output.unsent_len() > 0 {
                "rw"
            } else {
                "r"
            },
            resp = self.session.protocol.version(),
            lib_name = text(identity.map(|identity| &identity.lib_name)),
            lib_ver = text(identity.map(|identity| &identity.lib_ver)),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            commands = self.pipeline.answered(),
        )
    }

    /// The letters of its states, in Redis' order.
    fn flags(&self) -> String {
        let states = [
            (self.session.is_monitor(), 'O'),
            (self.session.subscriptions().is_some(), 'P'),
            (self.session.queueing, 'x'),
            (
                self.stall == Some(Stall::ClientPause) || self.is_blocked(),
                'b',
            ),
            (self.session.tracking().is_some(), 't'),
            (self.session.tracking().is_some_and(|own| own.broken), 'R'),
            (
                self.session
                    .tracking()
                    .is_some_and(|own| own.is_broadcast()),
                'B',
            ),
            (self.is_broken(), 'd'),
            (self.closing.is_some(), 'c'),
            (self.address.is_none(), 'U'),
            (self.session.no_evict, 'e'),
            (self.session.no_touch, 'T'),
        ];
        let flags: String = states
            .iter()
            .filter_map(|(is_so, letter)| is_so.then_some(*letter))
            .collect();
        if flags.is_empty() { "N".into() } else { flags }
    }

    /// How many requests it has queued (-1: it has not said MULTI), how many keys it watches, and the bytes
    /// of the former.
    fn transaction(&self) -> (i64, usize, usize) {
        match self.lease.as_deref().map(|lease| &lease.work) {
            Some(Work::Transaction(transaction)) => {
                let queued = transaction.items.len() as i64;
                let multi = if self.session.queueing { queued } else { -1 };
                (multi, transaction.watched.len(), transaction.bytes)
            }
            Some(Work::Blocking(_) | Work::Wait(_) | Work::Streamed) | None => (-1, 0, 0),
        }
    }

    /// Whether EXEC will answer nil.
    fn is_broken(&self) -> bool {
        let work = self.lease.as_deref().map(|lease| &lease.work);
        matches!(work, Some(Work::Transaction(transaction)) if transaction.broken)
    }

    /// Where it comes from, as Redis names it: at a Unix socket, that socket.
    pub(in crate::proxy) fn peer_name(&self) -> String {
        match self.address {
            Some(address) => canonical(address).to_string(),
            None => self.local_name(),
        }
    }

    /// What it has come to, as Redis names it.
    pub(in crate::proxy) fn local_name(&self) -> String {
        match &self.local {
            Some(Listen::Tcp(own)) => canonical(*own).to_string(),
            Some(Listen::Unix(path)) => format!("{}:0", path.display()),
            None => "?:0".into(),
        }
    }
}

/// An IPv4 client of a socket that serves both shows its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::session::Session;

    #[test]
    fn a_line_has_the_fields_of_redis() {
        let second = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let address = Some("[::ffff:10.0.0.1]:9".parse().unwrap());
        let mut client = Client::new(address, Session::new(3, Default::default()), second(1));
        client.local = Some(Listen::Tcp("127.0.0.1:7".parse().unwrap()));
        client.session.identity_mut().name = b"me".to_vec();
        client.session.no_evict = true;
        client.last_active = second(9);
        let table = Table::compiled();
        client.pipeline.last_command = table.named(b"client|info").unwrap().id;
        let line = client.line(&table, second(11));
        let start = "id=3 addr=10.0.0.1:9 laddr=127.0.0.1:7 fd=-1 name=me age=10 idle=2 flags=e db=0 \
                     sub=0 psub=0 ssub=0 multi=-1 qbuf=0 ";
        assert!(line.starts_with(start), "{line}");
        let end = "events=r cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver= \
                   tot-net-in=0 tot-net-out=0 tot-cmds=0 watch=0\n";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path() {
        let mut client = Client::new(None, Session::new(3, Default::default()), Time::default());
        assert_eq!(client.peer_name(), "?:0");
        client.local = Some(Listen::Unix("/run/proxy".into()));
        assert_eq!(client.peer_name(), "/run/proxy:0");
        assert_eq!(client.local_name(), "/run/proxy:0");
        assert_eq!(client.flags(), "U");
    }
}
