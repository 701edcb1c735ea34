//! Bytes on their way in ([`ReadBuf`]) and out ([`WriteBuf`], of [`Chunk`]s), in between ([`Rope`], of [`Chunk`]s),
//! and the [`Pool`] their memory comes from.
//!
//! An idle connection owns no buffer: memory is taken from the worker's pool when bytes arrive and given
//! back when they are gone, last in first out, so that the block in use is the one in the cache. Memory
//! grows with the bytes that came, never with a length that a peer declared.
//!
//! It must never know what the bytes mean.

mod chunk;
mod pool;
mod read;
mod rope;
mod write;

pub use chunk::Chunk;
pub use pool::Pool;
pub use read::ReadBuf;
pub use rope::{Rope, RopeBuilder};
pub use write::{Pieces, WriteBuf};

/// Size of a read block, in bytes: what one read takes at most while no large frame is under way.
pub const READ_BLOCK: usize = 64 << 10;
/// Size of a write block, in bytes. Frames longer than this travel in a chunk of their own.
pub const WRITE_BLOCK: usize = 16 << 10;
/// Size of the first write block of an output, in bytes: most outputs need no more in a turn, and a thousand
/// of them then stay in the cache.
const FIRST_BLOCK: usize = 2 << 10;
