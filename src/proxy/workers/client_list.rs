//! `CLIENT LIST` and `CLIENT KILL`: the part of one worker, asked by clients of any worker.

use crate::clock::Time;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::ClientId;
use crate::proxy::messages::client_filter::{Filter, Kind, Selection};
use crate::proxy::state::Proxy;
use crate::resp::encode;

impl Selection {
    /// Whether this client is listed.
    pub fn takes(&self, client: &Client) -> bool {
        match self {
            Selection::All => true,
            Selection::Kind(kind) => client.kind() == *kind,
            Selection::Within(own, among) => client.session.is_beside(own) && among.takes(client),
            Selection::Numbers(numbers) => numbers
                .binary_search(&(client.session.number as i64))
                .is_ok(),
        }
    }
}

impl Filter {
    fn takes(&self, client: &Client) -> bool {
        let session = &client.session;
        self.number
            .is_none_or(|number| number == session.number as i64)
            && self
                .within
                .as_ref()
                .is_none_or(|own| session.is_beside(own))
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self
                .user
                .as_ref()
                .is_none_or(|user| *session.user().name == **user)
            && self.spared.is_none_or(|spared| spared != session.number)
            && is_named(&self.address, || client.peer_name())
            && is_named(&self.local, || client.local_name())
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
        let line = client.line(&self.table, now);
        encode::bulk(reply, line.as_bytes());
    }

    /// Closes those of these clients that the filter takes, at once; the one that asks for it is first told. Returns how
    /// many there were.
    pub(in crate::proxy) fn kill_clients(
        &mut self,
        ids: &[ClientId],
        filter: &Filter,
        asking: Option<ClientId>,
        now: Time,
    ) -> i64 {
        let mut taken = 0;
        for id in ids {
            let client = self.clients.get(*id);
            if !client.is_some_and(|client| filter.takes(client)) {
                continue;
            }
            taken += 1;
            if Some(*id) == asking {
                self.close_when_told(*id, Parting::Killed);
            } else if self.forget_client(*id, now) {
                self.stats.clients_killed.add(1);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;
    use crate::proxy::client::session::Session;

    #[test]
    fn a_filter_takes_who_fits_in_all() {
        let address = Some("10.0.0.1:9".parse().unwrap());
        let mut client = Client::new(
            address,
            Session::new(3, Default::default()),
            Time::default(),
        );
        client.local = Some(Listen::Tcp("127.0.0.1:7".parse().unwrap()));
        let check = |filter: Filter, expected| {
            assert_eq!(filter.takes(&client), expected, "{filter:?}");
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
