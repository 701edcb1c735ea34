//! `Unmerged`: replies whose parts are merged in steps.

use std::collections::VecDeque;

use crate::proxy::ids::{ClientId, Seq};

/// The requests that go on to be merged in the next turns, oldest first. Some of their clients may have gone.
#[derive(Debug, Default)]
pub struct Unmerged(pub(in crate::proxy) VecDeque<(ClientId, Seq)>);

impl Unmerged {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
