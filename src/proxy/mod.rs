//! `Proxy`: the whole state of one worker as a state machine. Bytes in, bytes out, time as an argument.
//!
//! Inputs: [`Proxy::accept`], [`Proxy::input`], [`Proxy::connected`], [`Proxy::closed`], [`Proxy::flush`],
//! [`Proxy::adopt`], [`Proxy::tick`]. Outputs: [`Proxy::next_action`], to be polled until there is none
//! after any input.
//!
//! It must never know a socket, a clock or a thread.
//!
//! # The rooms
//!
//! A room imports only from rooms that stand before it in this table; `tests/it/rooms.rs` takes the rule from here.
//! Above `state` is what the state is made of: types, their invariants and their unit tests, which never name `Proxy`.
//! Below it is what is done with the state: `impl Proxy`. What two of those share lies above `state`.
//!
//! | kind | rooms | what is there |
//! |---|---|---|
//! | state | `ids`, `texts`, `planted_bugs`, `request` | names of clients and nodes; Redis' own words; what is asked of any frame |
//! | state | `stats`, `scripts` | what is counted; the scripts that were loaded, and what their flags say |
//! | state | `namespace` | the tag before a client's keys: requests with it, replies without it |
//! | state | `tracking::state` | which clients have read which keys, and are told when they change |
//! | state | `messages`, `actions` | what is said to other workers, and to sockets and threads |
//! | state | `near_cache::state` | replies of hot keys, and until when they may be served |
//! | state | `upstream` | nodes, connections, tickets, routes |
//! | state | `pipeline` | the order of one client's replies; replies to parts that become one |
//! | state | `pubsub::state`, `lease::state` | subscriptions; transactions and blocking commands |
//! | state | `client` | one client: session, held requests, what is under way |
//! | state | `handover::state` | a client on its way to another process |
//! | state | `insight`, `watchers`, `process` | hot keys and slow requests; what all workers share |
//! | state | `local` | the replies that the proxy makes itself |
//! | state | `state` | `struct Proxy` |
//! | acts | `inputs` | what the worker calls |
//! | acts | `tracking` | CLIENT TRACKING: keys that were read have changed, and their readers hear of it |
//! | acts | `near_cache` | reads served from memory; what tracking connections bring |
//! | acts | `path` | the way of a request to its node, and of the reply to its client |
//! | acts | `refused` | what a node did not execute: retry, order, scripts given again |
//! | acts | `connections`, `deadlines` | connections to nodes begin and end; who has waited too long |
//! | acts | `lease`, `pubsub` | MULTI, WATCH, BLPOP, WAIT; SUBSCRIBE and PUBLISH |
//! | acts | `workers`, `observe` | CLIENT LIST, KILL and PAUSE, MONITOR; the access log, samples |
//! | acts | `handover` | clients go to the process that takes over, and come from the one before |
//! | acts | `invariants`, `tests` | what must hold of the whole, for tests |
//!
//! # The way of GET and MGET
//!
//! Each step is a file of this folder and what the way passes in it. `tests/it/rooms.rs` holds that the steps are there, that
//! each is called or named by a file before it, and that no room is entered twice on one way.
//!
//! | way | steps |
//! |---|---|
//! | GET, request | `inputs::input`, `path/dispatch::client_input`, `path/plain::take_plain_requests`, `pipeline::push_heard_single`, `upstream/routes::direct`, `upstream/backend::Ticket`, `actions::flush_backend` |
//! | GET, reply | `inputs::input`, `path/deliver::backend_input`, `path/plain::take_plain_replies`, `upstream/backend::Origin`, `pipeline::fulfil_single`, `client::may_resume`, `actions::flush_client` |
//! | MGET, request | `inputs::input`, `path/dispatch::client_input`, `path/plain/split::take_plain_split`, `upstream::at_hand`, `upstream/routes::direct`, `upstream/backend::Ticket`, `pipeline::push_split`, `actions::flush_backend` |
//! | MGET, reply | `inputs::input`, `path/deliver::backend_input`, `path/plain/parts::take_part_replies`, `upstream/backend::Origin`, `pipeline::fulfil_part`, `pipeline/parts::merge`, `client::may_resume`, `actions::flush_client` |
//!
//! `upstream` is one step wide: the connection that `routes` names is in hand until it has the bytes and the ticket. The place in
//! the pipeline is taken meanwhile, since it names the connection. Of the replies to parts all but the last are only stored
//! (`fulfil_part`); the last one (`merge`) makes the reply.
//!
//! What a node did not execute leaves this way in `path/deliver` for `refused`, and for nowhere else.

pub mod actions;
pub mod client;
mod connections;
pub mod deadlines;
pub mod handover;
pub mod ids;
mod inputs;
pub mod insight;
mod invariants;
pub mod lease;
pub mod local;
pub mod messages;
pub mod namespace;
pub mod near_cache;
pub mod observe;
pub mod path;
pub mod pipeline;
mod planted_bugs;
pub mod process;
pub mod pubsub;
pub mod refused;
pub mod request;
pub mod scripts;
pub mod state;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod texts;
pub mod tracking;
pub mod upstream;
pub mod watchers;
pub mod workers;

pub use ids::Peer;
pub use state::Proxy;
pub use upstream::lost::Lost;
