//! The hand-over: a new process takes over from one that serves, without a client that is refused or reset.
//!
//! Both are started with `-take-over PATH`. The one that serves listens at that Unix socket; the new one connects to
//! it at start. SIGUSR2 makes the one that serves start its successor itself.
//!
//! | step | the old process ([`giving`]) | the new process ([`taking`]) |
//! |---|---|---|
//! | 1 | | reads its files; connects, says `Hello` |
//! | 2 | `Listener`s, each with its descriptor, `Offered`; serves on | takes them, starts workers that do not accept yet |
//! | 3 | | learns the topology; `Ready` |
//! | 4 | stops accepting; `Go`, with what it has counted | |
//! | 5 | | accepts; `Serves` |
//! | 6 | sees that it lives on; tells the service manager; `Yours` | is ready, listens at PATH for its own successor |
//! | 7 | `Topics`: what clients are subscribed to | subscribes at the nodes; `Warm` |
//! | 8 | `Client`s, each with its descriptor, as they become free | serves them |
//! | 9 | ends what is left; `Counted`, with what was counted since; ends | adds that up |
//!
//! A client moves while nothing is in flight for it; subscribers do when the new process listens for them. Clients in a
//! lease move when it ends. What is left after `-drain-timeout`, and TLS clients, whose keys cannot move, are sent away as
//! at any end.
//!
//! Until `Serves`, and for a short while behind it, either may fail, and the old process goes on as before: what came in
//! between waits in the queues of the listening sockets, which both hold; what the new one has accepted ends with it. After
//! that the old process is one that stops: should the new one die then, nobody serves until it is started again.
//!
//! Frames and the fields of `Listener` never change, so that any two versions can pass listeners. Everything else
//! belongs to [`message::VERSION`].

pub mod giving;
pub mod message;
pub mod successor;
pub mod taking;
