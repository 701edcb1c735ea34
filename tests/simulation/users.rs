//! `Users`: the users of the servers (`-auth backend`). Each node has a table of its own, which admins change one node after
//! the other. It is the oracle for who may have written what: whatever must not be, panics here.
//!
//! A client's write may come to a node only on a connection of a user that the client may have been when it sent it.

use std::collections::HashMap;

use crate::ledger::Nonce;
use crate::random::{Random, mix};
use crate::resp;

/// Names a user.
pub type Who = usize;

/// The names; the first is who does not log in, if that needs no password.
pub const NAMES: [&str; 6] = ["default", "ann", "bob", "cid", "dot", "eve"];
/// The proxy itself.
pub const PROXY: Who = NAMES.len();
/// The proxy's name and password.
pub const OWN: [&str; 2] = ["proxy", "own"];

/// What some may not do. Scripts all may run, with what the proxy asks nodes about them (EXISTS); and all may ROLE.
const DENIED: [(Who, &str); 6] = [
    (1, "INCR"),
    (1, "MSET"),
    (2, "XRANGE"),
    (2, "MGET"),
    (3, "LRANGE"),
    (5, "DBSIZE"),
];

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// A password: users never share one.
pub type Password = u32;

/// A user and its password, as somebody gives them.
pub type Credentials = (Who, Password);

/// The users of all nodes.
#[derive(Debug)]
pub struct Users {
    /// Numbers of its own, so that worlds without users stay what they are.
    pub random: Random,
    /// Users change once in so many turns; never if that is 0.
    once_in: usize,
    /// Whether `default` needs no password.
    pub open: bool,
    /// The passwords of each node; a user without one is not there.
    nodes: Vec<[Option<Password>; NAMES.len()]>,
    /// What admins have still to do: when, at which node.
    due: Vec<(u64, usize, Who, Option<Password>)>,
    /// What they want.
    wanted: [Option<Password>; NAMES.len()],
    last: Password,
    /// Since when all nodes admit these.
    everywhere_since: HashMap<Credentials, u64>,
    /// Until when a node has admitted these.
    somewhere_until: HashMap<Credentials, u64>,
    /// Who have changed, one bit each.
    changed: u32,
    /// Whose connection a node serves now.
    pub acting: Option<Who>,
    /// Who may have sent a write, one bit each.
    authors: HashMap<Nonce, u32>,
    /// Users changed, and logins accepted and refused.
    pub changes: u64,
    pub accepted: u64,
    pub refused: u64,
}

/// Among such bits: who has not logged in.
pub const UNNAMED: u32 = 1 << 31;

/// The bit of a user.
pub fn bit(who: Who) -> u32 {
    1 << who
}

/// Whether somebody of these may not do something.
fn anybody(bits: u32, does: impl Fn(Who) -> bool) -> bool {
    (0..NAMES.len()).any(|who| bits & bit(who) != 0 && does(who))
}

impl Users {
    /// The numbers of the users of a seed, in worlds that have some.
    pub fn of_seed(seed: u64) -> Option<Random> {
        let mut random = Random::new(mix(seed ^ 0x0a11_05e5));
        random.one_in(4).then_some(random)
    }

    /// Users of so many nodes. In calm worlds they do not change.
    pub fn new(mut random: Random, nodes: usize, calm: bool) -> Users {
        let once_in = match calm || random.one_in(4) {
            true => 0,
            false => random.between(30, 400) as usize,
        };
        let mut users = Users {
            once_in,
            open: random.one_in(3),
            random,
            nodes: vec![[None; NAMES.len()]; nodes],
            due: Vec::new(),
            wanted: [None; NAMES.len()],
            last: 0,
            everywhere_since: HashMap::new(),
            somewhere_until: HashMap::new(),
            changed: 0,
            acting: None,
            authors: HashMap::new(),
            changes: 0,
            accepted: 0,
            refused: 0,
        };
        for who in 0..NAMES.len() {
            users.last += 1;
            users.wanted[who] = Some(users.last);
        }
        users.agree(0);
        users
    }

    /// All nodes do as the admins want.
    pub fn agree(&mut self, now: u64) -> Vec<(usize, Who)> {
        self.due.clear();
        let mut gone = Vec::new();
        for node in 0..self.nodes.len() {
            for who in 0..NAMES.len() {
                let wanted = self.wanted[who];
                gone.extend(self.set(node, who, wanted, now).then_some((node, who)));
            }
        }
        gone
    }

    /// Admins come back to what they have deleted, and change nothing more.
    pub fn rest(&mut self) {
        self.once_in = 0;
        for wanted in &mut self.wanted {
            if wanted.is_none() {
                self.last += 1;
                *wanted = Some(self.last);
            }
        }
    }

    /// A user of a node changes. Returns whether the node closes its connections.
    fn set(&mut self, node: usize, who: Who, to: Option<Password>, now: u64) -> bool {
        let before = std::mem::replace(&mut self.nodes[node][who], to);
        if before == to {
            return false;
        }
        if let Some(password) = before {
            self.everywhere_since.remove(&(who, password));
            let left = self.nodes.iter().any(|node| node[who] == before);
            if !left {
                self.somewhere_until.insert((who, password), now);
            }
        }
        if let Some(password) = to {
            self.somewhere_until.insert((who, password), u64::MAX);
            if self.nodes.iter().all(|node| node[who] == to) {
                self.everywhere_since.insert((who, password), now);
            }
        }
        to.is_none()
    }

    /// Admins at work. Returns nodes and users whose connections they close.
    pub fn pass_time(&mut self, now: u64, talking: bool) -> Vec<(usize, Who)> {
        if talking && self.random.one_in(self.once_in) {
            let who = self.random.below(NAMES.len());
            let is_there = self.wanted[who].is_some();
            self.last += 1;
            // Nobody can delete `default`.
            let deletes = is_there && who > 0 && self.random.one_in(2);
            self.wanted[who] = (!deletes).then_some(self.last);
            self.changed |= bit(who);
            self.changes += 1;
            let slow = self.random.one_in(2);
            for node in 0..self.nodes.len() {
                let wait = if slow { 300_000 } else { 1000 };
                let at = now + self.random.between(0, wait);
                self.due.push((at, node, who, self.wanted[who]));
            }
        }
        let mut gone = Vec::new();
        while let Some(at) = self.due.iter().position(|(due, ..)| *due <= now) {
            let (_, node, who, to) = self.due.remove(at);
            gone.extend(self.set(node, who, to, now).then_some((node, who)));
        }
        gone
    }

    /// What a client logs in with: mostly what is right.
    pub fn credentials(&mut self) -> Credentials {
        let who = self.random.below(NAMES.len());
        let password = match self.wanted[who] {
            Some(password) if !self.random.one_in(8) => password,
            _ => self.random.below(self.last as usize + 2) as Password,
        };
        (who, password)
    }

    /// What `default` logs in with, who may do everything.
    pub fn of_default(&self) -> Credentials {
        (0, self.wanted[0].expect("nobody can delete it"))
    }

    /// What a node says of a login or a question about one, and of who has not logged in or may not do this; nothing if it
    /// goes on.
    pub fn judge(
        &mut self,
        node: usize,
        user: &mut Option<Who>,
        name: &str,
        args: &[Vec<u8>],
    ) -> Option<Vec<u8>> {
        if user.is_none() && self.open {
            *user = Some(0);
        }
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        match (name, &words[1..]) {
            ("AUTH", [own, password]) | ("HELLO", [_, b"AUTH", own, password]) => {
                match self.admits(node, own, password) {
                    Some(who) => *user = Some(who),
                    None => return Some(error(WRONG)),
                }
            }
            ("ACL", [b"DRYRUN", own, command, ..]) => {
                assert_eq!(*user, Some(PROXY), "only the proxy may ask");
                let who = who_is(own).expect("a user of ours");
                let name = String::from_utf8_lossy(own);
                if self.nodes[node][who].is_none() && !(who == 0 && self.open) {
                    return Some(error(&format!("ERR User '{name}' not found")));
                }
                let command = String::from_utf8_lossy(command).to_ascii_uppercase();
                if !denies(who, &command) {
                    return Some(b"+OK\r\n".to_vec());
                }
                let command = command.to_ascii_lowercase();
                let text = format!("This user has no permissions to run the '{command}' command");
                return Some(resp::bulk(text.as_bytes()));
            }
            _ if user.is_none() => {
                let is_handshake = ["HELLO", "READONLY", "CLIENT", "PING"].contains(&name);
                assert!(is_handshake, "{name} came before the login");
                return Some(error("NOAUTH Authentication required."));
            }
            _ => {}
        }
        self.acting = *user;
        let who = (*user)?;
        denies(who, name).then(|| {
            let name = name.to_ascii_lowercase();
            error(&format!(
                "NOPERM this user has no permissions to run the '{name}' command"
            ))
        })
    }

    fn admits(&self, node: usize, name: &[u8], password: &[u8]) -> Option<Who> {
        let [own, right] = OWN.map(str::as_bytes);
        if name == own {
            assert_eq!(password, right, "the proxy knows its password");
            return Some(PROXY);
        }
        let who = who_is(name)?;
        let given = std::str::from_utf8(password).ok();
        let given = given.and_then(|text| text.strip_prefix("pw")?.parse().ok());
        let is_right = given.is_some() && self.nodes[node][who] == given;
        (is_right || (who == 0 && self.open)).then_some(who)
    }

    /// A client makes a write; it may be any of these.
    pub fn wrote(&mut self, nonce: Nonce, bits: u32) {
        self.authors.insert(nonce, bits);
    }

    /// A node executes a write.
    pub fn executes(&self, nonce: Nonce) {
        if let (Some(who), Some(bits)) = (self.acting, self.authors.get(&nonce)) {
            assert!(
                who != PROXY && bits & bit(who) != 0,
                "write {nonce} of {bits:b} was executed for user {who}"
            );
        }
    }

    /// A client that asked at `since` is told whether these are right.
    pub fn told(&mut self, (who, password): Credentials, since: u64, is_right: bool) {
        if who == 0 && self.open {
            return assert!(is_right, "everybody may be {}", NAMES[who]);
        }
        if is_right {
            self.accepted += 1;
            let until = self.somewhere_until.get(&(who, password));
            assert!(
                until.is_some_and(|until| *until >= since),
                "password {password} of {who} was accepted, which no node has admitted"
            );
        } else {
            self.refused += 1;
            let right_since = self.everywhere_since.get(&(who, password));
            assert!(
                right_since.is_none_or(|right| *right > since),
                "password {password} of {who} was refused, which all nodes admit"
            );
        }
    }

    /// Who a client is that has not logged in.
    pub fn unnamed(&self) -> u32 {
        UNNAMED | (bit(0) * u32::from(self.open))
    }

    /// Whether the rules of somebody of these have changed.
    pub fn have_changed(&self, bits: u32) -> bool {
        anybody(bits, |who| self.changed & bit(who) != 0)
    }

    /// Whether a client that is one of these may be told this of a command.
    pub fn excuse(&self, bits: u32, text: &str, name: &str) -> bool {
        let says = |start: &str| text.starts_with(start);
        match () {
            () if says("NOPERM this user has no permissions to run the ") => {
                anybody(bits, |who| denies(who, name))
            }
            () if says("NOAUTH ") => (bits & UNNAMED != 0 && !self.open) || self.have_changed(bits),
            () if says("WRONGPASS ") || says("ERR User '") => self.have_changed(bits),
            () => false,
        }
    }
}

/// The user of a name.
fn who_is(name: &[u8]) -> Option<Who> {
    NAMES.iter().position(|own| own.as_bytes() == name)
}

fn denies(who: Who, command: &str) -> bool {
    DENIED.contains(&(who, command))
}

fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}
