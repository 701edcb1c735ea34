//! `FieldWriter`, `FieldReader`: values in bytes, each with a number that names it and its length. The form in which
//! one process hands its state to the next, which may be of another version.
//!
//! A reader leaves out fields that it does not know. It trusts no length: what is cut short or too long is an error,
//! and nothing is allocated for what has not come. It must never know what a field means.

/// Bytes before each value: its number and its length.
const HEAD: usize = 6;

/// Puts fields one behind the other.
#[derive(Debug, Default)]
pub struct FieldWriter(Vec<u8>);

impl FieldWriter {
    /// Appends a field. One that is empty is a field, too.
    pub fn bytes(&mut self, name: u16, value: &[u8]) {
        let length = u32::try_from(value.len()).expect("what is handed over is bounded");
        self.0.extend_from_slice(&name.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value);
    }

    /// Appends a number.
    pub fn number(&mut self, name: u16, value: u64) {
        self.bytes(name, &value.to_le_bytes());
    }

    /// Appends a field without a value if `value` is true; a reader that finds none takes it for false.
    pub fn flag(&mut self, name: u16, value: bool) {
        if value {
            self.bytes(name, &[]);
        }
    }

    /// All of them.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What a field cannot be read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Takes fields apart, in the order in which they were put.
#[derive(Debug)]
pub struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    /// Reads all of these bytes.
    pub fn new(bytes: &'a [u8]) -> FieldReader<'a> {
        FieldReader(bytes)
    }

    /// The next field: its number and its value.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(u16, &'a [u8])>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (head, rest) = self.0.split_at_checked(HEAD).ok_or(Malformed)?;
        let name = u16::from_le_bytes([head[0], head[1]]);
        let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some((name, value)))
    }
}

/// A value that is a number.
pub fn number(value: &[u8]) -> Result<u64, Malformed> {
    let bytes = value.try_into().map_err(|_| Malformed)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A value that is text.
pub fn text(value: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(value.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = FieldWriter::default();
        writer.number(1, 7);
        writer.bytes(2, b"two\r\n");
        writer.flag(3, true);
        writer.flag(4, false);
        writer.finish()
    }

    #[test]
    fn fields_come_back_in_order() {
        let bytes = written();
        let mut reader = FieldReader::new(&bytes);
        let (name, value) = reader.next().unwrap().unwrap();
        assert_eq!((name, number(value)), (1, Ok(7)));
        assert_eq!(reader.next(), Ok(Some((2, &b"two\r\n"[..]))));
        assert_eq!(reader.next(), Ok(Some((3, &b""[..]))));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(number(b"1234567"), Err(Malformed));
        assert_eq!(text(b"\xff"), Err(Malformed));
    }

    #[test]
    fn what_is_cut_short_is_an_error_unless_it_is_cut_between_fields() {
        let bytes = written();
        let ends = [0, 14, 25, 31];
        for length in 0..=bytes.len() {
            let mut reader = FieldReader::new(&bytes[..length]);
            let last = loop {
                match reader.next() {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            let whole = last == Ok(None);
            assert_eq!(whole, ends.contains(&length), "cut at {length}");
        }
    }

    #[test]
    fn a_length_that_nothing_comes_for_is_an_error() {
        let hostile = [1, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert_eq!(FieldReader::new(&hostile).next(), Err(Malformed));
    }
}
