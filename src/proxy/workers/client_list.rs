//! The clients of one worker, asked after by clients of any: `CLIENT LIST` and `CLIENT KILL`.

use std::sync::Arc;

use crate::clock::Time;
use crate::config::Listen;
use crate::proxy::Proxy;
use crate::proxy::client::{Client, ClientId, Parting};
use crate::resp::encode;

/// What Redis calls a client's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any other; a monitor, too.
    Normal,
    /// A connection of a replica to its master: the proxy has none.
    Master,
    /// A connection of a replica: the proxy has none.
    Replica,
    /// A subscriber.
    Pubsub,
}

impl Kind {
    /// The type of this name.
    pub fn named(name: &[u8]) -> Option<Kind> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Kind::Normal),
            b"master" => Some(Kind::Master),
            b"slave" | b"replica" => Some(Kind::Replica),
            b"pubsub" => Some(Kind::Pubsub),
            _ => None,
        }
    }
}

/// Whom `CLIENT LIST` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everybody.
    All,
    /// All of a type.
    Kind(Kind),
    /// Those with these numbers, which are sorted.
    Numbers(Arc<[i64]>),
}

impl Selection {
    /// Whether this client is listed.
    pub fn takes(&self, client: &Client) -> bool {
        match self {
            Selection::All => true,
            Selection::Kind(kind) => client.kind() == *kind,
            Selection::Numbers(numbers) => numbers
                .binary_search(&(client.session.number as i64))
                .is_ok(),
        }
    }
}

/// Whom `CLIENT KILL` kills: all that is given must be so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `ID`.
    pub number: Option<i64>,
    /// `TYPE`.
    pub kind: Option<Kind>,
    /// `ADDR`, or the one argument of the old form.
    pub address: Option<Vec<u8>>,
    /// `LADDR`.
    pub local: Option<Vec<u8>>,
    /// The number of a client that is spared.
    pub spared: Option<u64>,
}

impl Filter {
    fn takes(&self, client: &Client, listen: &Listen) -> bool {
        let session = &client.session;
        self.number
            .is_none_or(|number| number == session.number as i64)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self.spared.is_none_or(|spared| spared != session.number)
            && is_named(&self.address, || client.peer_name(listen))
            && is_named(&self.local, || client.local_name(listen))
    }
}

fn is_named(wanted: &Option<Vec<u8>>, name: impl FnOnce() -> String) -> bool {
    wanted
        .as_ref()
        .is_none_or(|wanted| name().as_bytes() == wanted)
}

impl Client {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self.session.subscriptions() {
            Some(_) => Kind::Pubsub,
            None => Kind::Normal,
        }
    }
}

impl Proxy {
    /// The lines of these clients: an array of number and line in turns, not sorted.
    pub(in crate::proxy) fn list_clients(
        &self,
        selection: &Selection,
        now: Time,
        reply: &mut Vec<u8>,
    ) {
        let clients: Vec<&Client> = self
            .clients
            .iter()
            .map(|(_, client)| client)
            .filter(|client| selection.takes(client))
            .collect();
        encode::array(reply, 2 * clients.len());
        for client in clients {
            self.list_client(client, now, reply);
        }
    }

    /// Appends a client's number and its line.
    pub(in crate::proxy) fn list_client(&self, client: &Client, now: Time, reply: &mut Vec<u8>) {
        encode::integer(reply, client.session.number as i64);
        let line = client.line(&self.config.listen, &self.table, now);
        encode::bulk(reply, line.as_bytes());
    }

    /// Closes these clients at once; the one that asks for it is first told. Returns how many there were.
    pub(in crate::proxy) fn kill_clients(
        &mut self,
        filter: &Filter,
        asking: Option<ClientId>,
        now: Time,
    ) -> i64 {
        let ids: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, client)| filter.takes(client, &self.config.listen))
            .map(|(id, _)| id)
            .collect();
        for id in &ids {
            if Some(*id) == asking {
                self.close_when_told(*id, Parting::Killed);
            } else if self.forget_client(*id, now) {
                self.stats.clients_killed.add(1);
            }
        }
        ids.len() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::session::Session;

    #[test]
    fn a_filter_takes_who_fits_in_all() {
        let listen = Listen::Tcp("127.0.0.1:7".parse().unwrap());
        let address = Some("10.0.0.1:9".parse().unwrap());
        let client = Client::new(address, Session::new(3, true), Time::default());
        let check = |filter: Filter, expected| {
            assert_eq!(filter.takes(&client, &listen), expected, "{filter:?}");
        };
        let any = Filter::default;
        check(any(), true);
        check(
            Filter {
                number: Some(3),
                ..any()
            },
            true,
        );
        check(
            Filter {
                number: Some(4),
                ..any()
            },
            false,
        );
        check(
            Filter {
                kind: Some(Kind::Pubsub),
                ..any()
            },
            false,
        );
        check(
            Filter {
                spared: Some(3),
                ..any()
            },
            false,
        );
        check(
            Filter {
                spared: Some(4),
                ..any()
            },
            true,
        );
        let (address, local) = (Some(b"10.0.0.1:9".to_vec()), Some(b"127.0.0.1:7".to_vec()));
        check(
            Filter {
                address: address.clone(),
                local: local.clone(),
                ..any()
            },
            true,
        );
        check(
            Filter {
                address: local,
                local: address,
                ..any()
            },
            false,
        );
    }

    #[test]
    fn types_have_the_names_of_redis() {
        assert_eq!(Kind::named(b"NORMAL"), Some(Kind::Normal));
        assert_eq!(Kind::named(b"slave"), Some(Kind::Replica));
        assert_eq!(Kind::named(b"foo"), None);
    }
}
