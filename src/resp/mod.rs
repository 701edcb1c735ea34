//! The protocol (RESP2 and RESP3): bytes to borrowed views, and back. Knows no command.

pub mod args;
pub mod encode;
pub mod frame;
pub mod glob;
pub mod inline;
mod nesting;
mod number_line;
pub mod reply;
pub mod reply_frame;
pub mod request_tail;
pub mod short;
pub mod value;
