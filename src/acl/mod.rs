//! Users, and what each of them may do: the rules of Redis' ACLs (`-acl-file`, ACL SETUSER), as redis-server 7.0.15
//! understands and shows them.
//!
//! | file | what is there |
//! |---|---|
//! | `password` | hashes of passwords |
//! | `commands` | the commands that rules speak of |
//! | `selector`, `user` | rules, one after the other, and what they make of a user |
//! | `describe` | a selector's rules on commands in few words, as ACL LIST shows them |
//! | `permissions`, `pattern_set` | rules made into what is quickly checked |
//! | `users`, `store` | all users; the file; the snapshot that all workers share |
//! | `disk` | steps that a disk may never answer, and how long they are waited for |
//! | `log` | ACL LOG |
//! | `settings` | what flags say of single users: limits, and settings of their own |
//! | `failures` | failed logins, by address |
//!
//! It must never know a socket, a session or a worker.

pub mod commands;
mod describe;
mod disk;
pub mod distinct;
pub mod failures;
pub mod log;
pub mod password;
mod pattern_set;
pub mod permissions;
pub mod selector;
pub mod settings;
pub mod store;
pub mod user;
pub mod users;

pub use commands::Commands;
pub use permissions::{Denied, Reason};
pub use store::Store;
pub use user::User;
pub use users::Users;
