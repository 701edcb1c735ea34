//! The shell round the proxy, as `worker` is: pipes to nodes and to clients, and the actions that the proxy asks for.

use redis_cluster_proxy::proxy::Peer;
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::ids::BackendId;
use redis_cluster_proxy::proxy::ids::ClientId;
use redis_cluster_proxy::proxy::upstream::lost::Lost;

use super::{Link, MILLIS, Phase, World, shown};
use crate::client::{Client, End};
use crate::cluster::Session;
use crate::doors::{self, Door};
use crate::wire::Pipe;

impl World {
    pub(super) fn link_of(&self, id: BackendId) -> Option<usize> {
        self.links.iter().position(|link| link.backend == Some(id))
    }

    pub(super) fn connect(&mut self, id: BackendId, address: std::net::SocketAddr) {
        let node = self.cluster.node_at(address).expect("an address of ours");
        let alive = self.cluster.nodes[node].alive;
        let fate = if alive { 3 } else { self.random.below(3) };
        if fate == 0 {
            self.events.connects_refused += 1;
            let now = self.time();
            return self.proxy.lose_backend(id, Lost::Closed, now);
        }
        let until = match fate {
            1 => u64::MAX,
            _ if self.swift => self.now + 100,
            _ => self.now + self.random.between(1, 3 * MILLIS),
        };
        self.events.connects_in_vain += u64::from(fate == 1);
        self.note(|_| format!("{id:?} connects to node {node}, fate {fate}"));
        self.links_made += 1;
        let mut link = Link {
            backend: Some(id),
            node,
            phase: Phase::Connecting {
                until,
                accepted: alive,
            },
            requests: Pipe::new(self.capacity),
            replies: Pipe::new(self.capacity),
            pending: Vec::new(),
            unwritten: Vec::new(),
            session: Session::of_number(self.links_made),
            idle_until: 0,
            mute_until: 0,
            closing: false,
            answered: false,
            late: self.reports.are_late(node),
            busy_until: 0,
            door: None,
            sent: Vec::new(),
            reset: false,
            queued: false,
            blocked: false,
        };
        let shut = self.doors.met(node, self.now).filter(|_| alive);
        let chance = self.random.one_in(self.troubles.full);
        let door = shut.or_else(|| chance.then(|| Door::any(&mut self.random)));
        if let Some(door) = door {
            self.meet(&mut link, door);
        }
        self.links.push(link);
    }

    /// A node does not serve a new connection.
    fn meet(&mut self, link: &mut Link, door: Door) {
        link.door = Some(door);
        match door {
            Door::Silent => self.events.connects_silent += 1,
            Door::Tells(b"") | Door::TellsBehind(b"") => self.events.connects_closed += 1,
            Door::Tells(_) | Door::TellsBehind(_) => self.events.connects_told += 1,
        }
        if let Door::Tells(words) = door {
            link.turn_away(words);
        }
    }

    pub(super) fn serve_links(&mut self) {
        let mut index = 0;
        while index < self.links.len() {
            if !self.random.one_in(4) {
                self.serve_link(index);
            }
            index += 1;
        }
    }

    /// One event of a connection to a node: it is connected, or may be written or read again.
    pub(super) fn serve_link(&mut self, index: usize) {
        let now = self.time();
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let Some(id) = link.backend else {
            return;
        };
        if let Phase::Connecting { until, accepted } = link.phase {
            if self.now < until {
                return;
            }
            if !accepted || !self.cluster.nodes[link.node].alive {
                self.events.connects_refused += 1;
                return self.proxy.closed(Peer::Backend(id), now);
            }
            link.phase = Phase::Open;
            self.proxy.connected(id, now);
            return;
        }
        if link.blocked && (link.requests.room() > 0 || link.reset) {
            link.blocked = false;
            if self.proxy.wants_flush(Peer::Backend(id)) {
                self.flush(Peer::Backend(id));
            }
        }
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        if !link.queued || link.backend != Some(id) {
            return;
        }
        if link.reset && (link.replies.is_empty() || self.random.one_in(2)) {
            link.queued = false;
            return self.proxy.closed(Peer::Backend(id), now);
        }
        let Some(room) = self.proxy.room(Peer::Backend(id)) else {
            // What it has sent already is served first, unless it has gone.
            link.queued = self.proxy.is_held_back(id);
            return;
        };
        if link.replies.is_empty() {
            link.queued = false;
            if link.replies.ended {
                self.proxy.ended(Peer::Backend(id), now);
            }
            return;
        }
        let space = room.spare();
        let most = space.len().min(link.replies.len());
        let count = if self.swift || self.random.one_in(2) {
            most
        } else {
            self.random.skewed(most)
        };
        let count = link.replies.read(&mut space[..count]);
        let bytes = space[..count].to_vec();
        room.filled(count);
        self.digest(&bytes);
        self.proxy.input(Peer::Backend(id), count, now);
    }

    pub(super) fn clients_act(&mut self, talking: bool) {
        if talking && self.clients.len() < self.clients_max && self.random.one_in(8) {
            self.accept(talking);
        }
        let mut index = 0;
        while index < self.clients.len() {
            let closed = self.client_acts(index, talking);
            if closed {
                self.clients.remove(index);
            } else {
                index += 1;
            }
        }
        if self.changes.has_listeners() {
            let all = self.listeners();
            let lost = self.clients.iter_mut();
            let lost = lost.filter_map(|client| client.looks_for_listener(&all).then_some(()));
            self.events.listeners_lost += lost.count() as u64;
        }
    }

    /// The names of clients that hear for others.
    fn listeners(&self) -> Vec<i64> {
        let all = self.clients.iter();
        all.filter_map(Client::name_of_listener).collect()
    }

    pub(super) fn accept(&mut self, talking: bool) -> usize {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
        let address = (!self.random.one_in(4)).then_some(address);
        let id = self.proxy.accept(address, self.time());
        self.clients_made += 1;
        let number = self.clients_made;
        let mut client = Client::new(
            id,
            number,
            self.manners.clone(),
            &self.ledger,
            self.capacity,
        );
        let namespaces = self.ledger.databases.namespaces;
        let namespaced = talking && namespaces > 0 && self.of_names.one_in(2);
        if namespaced {
            let namespace = self.of_names.below(namespaces);
            client = self.enter(client, namespace);
        } else if talking && self.random.one_in(3) {
            client = client.subscribes();
        }
        if talking && self.random.one_in(4) {
            client = client.writes_first();
            self.events.clients_writing_first += 1;
        }
        client.now = self.now;
        client.arrives(&mut self.ledger, talking);
        let tracks = talking && self.changes.trackers && client.subscriber.is_none();
        let listeners = self.listeners();
        if tracks && !namespaced && self.changes.one_listens(listeners.len()) {
            client = client.listens(&mut self.ledger, self.changes.of_listeners());
        } else if tracks && self.random.one_in(2) {
            let named = !namespaced && !listeners.is_empty();
            let named = named.then(|| *self.changes.of_listeners().pick(&listeners));
            client = client.tracks(named, &mut self.ledger, &mut self.random);
        }
        self.clients.push(client);
        self.note(|_| format!("client {number} is {id:?}"));
        self.clients.len() - 1
    }

    /// A client has come to the listener of a namespace.
    pub(super) fn enter(&mut self, client: Client, namespace: usize) -> Client {
        let listener = self.proxy.config().listen.len() + namespace;
        self.proxy.enter(client.id, listener);
        self.events.clients_in_namespaces += 1;
        client.enters(self.ledger.databases.first_of(namespace))
    }

    /// A client makes requests, writes and reads, perhaps. Returns whether it has been closed.
    pub(super) fn client_acts(&mut self, index: usize, talking: bool) -> bool {
        let client = &mut self.clients[index];
        client.now = self.now;
        let random = &mut self.random;
        if talking && client.unwritten.len() < 4096 && random.one_in(10) {
            let open = client.end == End::Open;
            client.make_requests(&mut self.ledger, random);
            self.events.clients_told += u64::from(open && client.end == End::Told);
        }
        if (self.swift || random.one_in(2)) && client.write(random) {
            client.queued = true;
        }
        if talking && random.one_in(200) && !client.is_reader {
            client.stalled_until = self.now + random.between(1, 200 * MILLIS);
            self.events.clients_not_reading += 1;
        }
        if self.now < client.stalled_until || client.is_writing_first() || random.one_in(2) {
            return false;
        }
        self.counts.severed = self.proxy.stats().clients_severed.get();
        let closed = client.read(&mut self.ledger, &mut self.counts, random);
        let told = client.take_told();
        if let Some(name) = client.name_of_listener().filter(|_| !told.is_empty()) {
            let all = self.clients.iter_mut();
            let all = all.filter_map(|other| other.hears_by(name, &told).then_some(()));
            self.events.told_by_listeners += all.count() as u64;
        }
        closed
    }

    pub(super) fn vanish(&mut self, index: usize) {
        let client = self.clients.remove(index);
        let id = client.id;
        self.note(|_| format!("client {id:?} vanishes"));
        self.events.clients_vanished += 1;
        self.events.requests_of_vanished += client.sent.len() as u64;
        client.vanish(&mut self.ledger);
        let now = self.time();
        self.proxy.closed(Peer::Client(id), now);
    }

    pub(super) fn client_of(&self, id: ClientId) -> Option<usize> {
        self.clients.iter().position(|client| client.id == id)
    }

    pub(super) fn serve_clients(&mut self) {
        for index in 0..self.clients.len() {
            if !self.random.one_in(4) {
                self.serve_client(index);
            }
        }
    }

    /// One event of a client's socket: it may be written or read again.
    pub(super) fn serve_client(&mut self, index: usize) {
        let now = self.time();
        let client = &mut self.clients[index];
        let id = client.id;
        if client.blocked && client.from_proxy.room() > 0 {
            client.blocked = false;
            if self.proxy.wants_flush(Peer::Client(id)) {
                self.flush(Peer::Client(id));
            }
        }
        let client = &mut self.clients[index];
        if !client.queued {
            return;
        }
        let Some(room) = self.proxy.room(Peer::Client(id)) else {
            // Only a resume brings it back, or more bytes.
            client.queued = false;
            return;
        };
        if client.to_proxy.is_empty() {
            client.queued = false;
            if client.to_proxy.ended {
                self.proxy.ended(Peer::Client(id), now);
            }
            return;
        }
        let space = room.spare();
        let most = space.len().min(client.to_proxy.len());
        let count = if self.swift || self.random.one_in(2) {
            most
        } else {
            self.random.skewed(most)
        };
        let count = client.to_proxy.read(&mut space[..count]);
        let bytes = space[..count].to_vec();
        room.filled(count);
        self.digest(&bytes);
        self.note(|_| format!("client {id:?} > {}", shown(&bytes)));
        self.proxy.input(Peer::Client(id), count, now);
    }

    pub(super) fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.proxy.next_action() {
            actions += 1;
            assert!(actions < 100_000, "the actions of one turn have no end");
            match action {
                Action::Connect(id, address) => self.connect(id, address),
                Action::Flush(peer) => self.flush(peer),
                Action::Resume(id) => {
                    let now = self.time();
                    if self.proxy.resume(id, now)
                        && let Some(client) = self.client_of(id)
                    {
                        self.clients[client].queued = true;
                    }
                }
                Action::Read(id) => {
                    if let Some(link) = self.link_of(id) {
                        self.links[link].queued = true;
                    }
                }
                Action::Close(peer) => self.close(peer),
                Action::Refresh(_) => self.refresh_wanted = true,
                Action::ToWorker(..) => unreachable!("there is one worker"),
                Action::WorkOutside(merge) => {
                    let (part, reply) = merge.run();
                    let now = self.time();
                    self.proxy.done_outside(part, reply, now);
                }
            }
        }
    }

    pub(super) fn flush(&mut self, peer: Peer) {
        let now = self.time();
        let (pipe, blocked, reset) = match peer {
            Peer::Client(id) => {
                let Some(index) = self.client_of(id) else {
                    return;
                };
                let client = &mut self.clients[index];
                (&mut client.from_proxy, &mut client.blocked, false)
            }
            Peer::Backend(id) => {
                let Some(index) = self.link_of(id) else {
                    return;
                };
                let link = &mut self.links[index];
                (&mut link.requests, &mut link.blocked, link.reset)
            }
        };
        // A connection that is cut still takes what nobody will read.
        let (random, events, swift) = (&mut self.random, &mut self.events, self.swift);
        let mut written = Vec::new();
        self.proxy.flush(peer, now, |slices| {
            if reset {
                return 0;
            }
            let mut offered = Vec::new();
            for slice in slices {
                offered.extend_from_slice(slice);
            }
            let mut count = offered.len().min(pipe.room());
            if !swift && random.one_in(4) {
                count = count.min(random.skewed(offered.len()));
            }
            pipe.push(&offered[..count]);
            written.extend(&offered[..count]);
            if count < offered.len() {
                *blocked = true;
                events.short_writes += 1;
            }
            count
        });
        self.digest(&written);
        self.note(|_| format!("{peer:?} < {}", shown(&written)));
        if let Peer::Backend(id) = peer
            && let Some(index) = self.link_of(id)
            && self.links[index].door.is_some()
        {
            self.links[index].sent.extend(written);
            doors::check_sent(&mut self.links[index].sent);
        }
        if reset {
            self.proxy.closed(peer, now);
        }
    }

    pub(super) fn close(&mut self, peer: Peer) {
        self.note(|_| format!("{peer:?} is closed"));
        match peer {
            Peer::Client(id) => {
                if let Some(client) = self.client_of(id) {
                    self.clients[client].from_proxy.ended = true;
                }
            }
            Peer::Backend(id) => {
                if let Some(index) = self.link_of(id) {
                    let node = self.links[index].node;
                    // A topology may leave out a node that was a replica for whoever described it.
                    let left_out = self.adopted_at == self.now;
                    if !self.manners.strict || left_out || !self.cluster.is_master(node) {
                        let watches = &self.links[index].session.own.watches;
                        self.ledger.promises.excuse(watches);
                    }
                    self.links[index].backend = None;
                    if self.links[index].phase != Phase::Open {
                        self.links.remove(index);
                    }
                }
            }
        }
    }
}
