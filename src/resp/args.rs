//! `Args`: a request as a list of slices, nothing copied.
//!
//! Shape on the wire: `*<n>\r\n` and n times `$<len>\r\n<bytes>\r\n` (RESP specification, "Sending
//! commands to a Redis server"). Inline requests are turned into this shape first.

use std::ops::Range;

/// Where one argument lies in its frame: offset and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte from the start of the frame.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A request: the frame's bytes and where its arguments lie. Argument 0 is the command's name.
///
/// Invariant: there is at least one argument and every span lies inside the frame.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    frame: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Views `frame` through the spans that the scanner found in it.
    #[inline]
    pub fn new(frame: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        debug_assert!(!spans.is_empty());
        Args { frame, spans }
    }

    /// How many arguments, the command's name included.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The command's name as the client wrote it.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.at(0)
    }

    /// Argument `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        self.frame
            .get(span.start as usize..span.start as usize + span.len as usize)
    }

    /// Argument `index`, or nothing at all (an empty slice) past the end.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// `count` arguments from `index` on as they stand in the frame, with their length lines and line ends. Not for
    /// the name.
    #[inline]
    pub fn encoded(&self, index: usize, count: usize) -> &'a [u8] {
        self.frame
            .get(self.encoded_range(index, count))
            .unwrap_or_default()
    }

    /// Where those arguments are in the frame.
    #[inline]
    pub fn encoded_range(&self, index: usize, count: usize) -> Range<usize> {
        debug_assert!(index > 0 && count > 0);
        let behind = |index: usize| {
            let span = self.spans.get(index);
            span.map_or(0, |span| span.start as usize + span.len as usize + 2)
        };
        behind(index - 1)..behind(index + count - 1)
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (frame, spans) = (self.frame, self.spans.get(index..).unwrap_or_default());
        spans
            .iter()
            .map(move |span| &frame[span.start as usize..span.start as usize + span.len as usize])
    }

    /// The request that begins at argument `index`, if there is one: what `COMMAND GETKEYS` is asked about.
    /// Its [`frame`](Args::frame) is that of the whole.
    pub fn tail(&self, index: usize) -> Option<Args<'a>> {
        let spans = self.spans.get(index..)?;
        let frame = self.frame;
        (!spans.is_empty()).then_some(Args { frame, spans })
    }

    /// The whole frame, as it goes to a node.
    #[inline]
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }
}
