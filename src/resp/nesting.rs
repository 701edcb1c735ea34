//! `Nesting`: for each open aggregate of the reply being scanned, how many values are still missing. Nearly all
//! replies nest two levels at most; for those it needs no allocation.
//!
//! It must never know what the values are.

/// Levels that need no memory of their own.
const FEW: usize = 3;

/// The deepest reply that is taken. A script of a client may make one of 7996 levels, which is where Redis says that it
/// has reached its limit: a node does not break the protocol by that. What is deeper is no node's, and whoever reads it
/// by recursion would run out of stack.
pub const DEPTH_MAX: usize = 8192;

/// The aggregates around the one that is being read, outermost first.
#[derive(Debug, Default)]
pub struct Nesting {
    few: [u64; FEW],
    more: Vec<u64>,
    depth: usize,
}

impl Nesting {
    /// An aggregate begins inside of one that lacks so many values besides. Returns whether there may be one more.
    #[inline]
    pub fn enter(&mut self, lacking: u64) -> bool {
        if let Some(place) = self.few.get_mut(self.depth) {
            *place = lacking;
        } else if self.depth < DEPTH_MAX {
            self.more.push(lacking);
        } else {
            return false;
        }
        self.depth += 1;
        true
    }

    /// How many aggregates are open.
    #[inline]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether no aggregate is open.
    #[inline]
    pub fn is_outside(&self) -> bool {
        self.depth == 0
    }

    /// The aggregate has ended: how many values the one around it lacks; nothing if there is none.
    #[inline]
    pub fn leave(&mut self) -> Option<u64> {
        self.depth = self.depth.checked_sub(1)?;
        match self.few.get(self.depth) {
            Some(lacking) => Some(*lacking),
            None => self.more.pop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_entered_is_left_in_the_other_order_and_no_deeper_than_may_be() {
        for depth in [0, 1, FEW, FEW + 1, DEPTH_MAX] {
            let mut nesting = Nesting::default();
            for level in 0..depth {
                assert!(nesting.enter(level as u64));
            }
            assert_eq!(nesting.enter(7), depth < DEPTH_MAX);
            if depth < DEPTH_MAX {
                assert_eq!(nesting.leave(), Some(7));
            }
            for level in (0..depth).rev() {
                assert_eq!(nesting.leave(), Some(level as u64));
            }
            assert_eq!(nesting.leave(), None);
        }
    }
}
