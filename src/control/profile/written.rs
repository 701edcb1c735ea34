//! How a profile is written: as a message `perftools.profiles.Profile`, or as folded stacks.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::{Function, Names};
use super::sampler::Stacks;
use crate::sort;

/// A line for each stack, `thread;root;...;leaf count`.
pub fn folded(stacks: &Stacks) -> Vec<u8> {
    let mut names = Names::default();
    let mut lines: HashMap<String, u64> = HashMap::new();
    for (stack, count) in stacks {
        let mut line = stack.thread.clone();
        for frame in stack.frames.iter().rev() {
            // What was inlined comes first, and is what was called last.
            for place in names.of(*frame).iter().rev() {
                line.push(';');
                line.push_str(&place.function.name.replace([';', '\n'], ":"));
            }
        }
        *lines.entry(line).or_default() += count;
    }
    let lines = lines.into_iter();
    let text: String = lines
        .map(|(line, count)| format!("{line} {count}\n"))
        .collect();
    text.into_bytes()
}

/// A message for `go tool pprof`. Its fields are numbered as in
/// <https://github.com/google/pprof/blob/main/proto/profile.proto>.
pub fn pprof(stacks: &Stacks, length: Duration, hertz: i64) -> Vec<u8> {
    let mut tables = Tables::default();
    // Number 0 is no text.
    tables.texts.number(String::new());
    let mut names = Names::default();
    let mut profile = Message::default();
    let period = 1_000_000_000 / hertz as u64;
    for (kind, unit) in [("samples", "count"), ("cpu", "nanoseconds")] {
        profile.message(1, &tables.value_type(kind, unit));
    }
    for (stack, count) in stacks {
        let frames = stack.frames.iter();
        let locations: Vec<u64> = frames
            .map(|frame| tables.locations.number(*frame) + 1)
            .collect();
        let mut label = Message::default();
        label.number(1, tables.texts.number("thread".to_string()));
        label.number(2, tables.texts.number(stack.thread.clone()));
        let mut sample = Message::default();
        sample.numbers(1, &locations);
        sample.numbers(2, &[*count, count * period]);
        sample.message(3, &label);
        profile.message(2, &sample);
    }
    for (index, address) in std::mem::take(&mut tables.locations)
        .all()
        .into_iter()
        .enumerate()
    {
        let mut location = Message::default();
        location.number(1, index as u64 + 1);
        location.number(3, address);
        for place in names.of(address) {
            let mut line = Message::default();
            line.number(1, tables.functions.number(place.function.clone()) + 1);
            line.number(2, place.line.into());
            location.message(4, &line);
        }
        profile.message(4, &location);
    }
    for (index, function) in std::mem::take(&mut tables.functions)
        .all()
        .into_iter()
        .enumerate()
    {
        let name = tables.texts.number(function.name);
        let mut written = Message::default();
        written.number(1, index as u64 + 1);
        written.number(2, name);
        written.number(3, name);
        written.number(4, tables.texts.number(function.file));
        profile.message(5, &written);
    }
    let period_type = tables.value_type("cpu", "nanoseconds");
    for text in tables.texts.all() {
        profile.bytes(6, text.as_bytes());
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    profile.number(9, now.saturating_sub(length).as_nanos() as u64);
    profile.number(10, length.as_nanos() as u64);
    profile.message(11, &period_type);
    profile.number(12, period);
    profile.0
}

/// What the parts of the message refer to by number.
#[derive(Debug, Default)]
struct Tables {
    texts: Numbered<String>,
    functions: Numbered<Function>,
    locations: Numbered<u64>,
}

impl Tables {
    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut value_type = Message::default();
        value_type.number(1, self.texts.number(kind.to_string()));
        value_type.number(2, self.texts.number(unit.to_string()));
        value_type
    }
}

/// Things, each with a number, in the order in which they were first named.
#[derive(Debug)]
struct Numbered<T>(HashMap<T, u64>);

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered(HashMap::new())
    }
}

impl<T: Hash + Eq> Numbered<T> {
    fn number(&mut self, thing: T) -> u64 {
        let next = self.0.len() as u64;
        *self.0.entry(thing).or_insert(next)
    }

    fn all(self) -> Vec<T> {
        let mut all: Vec<(u64, T)> = self
            .0
            .into_iter()
            .map(|(thing, number)| (number, thing))
            .collect();
        sort::by_key(&mut all, |(number, _)| *number);
        all.into_iter().map(|(_, thing)| thing).collect()
    }
}

/// Fields in the encoding of protocol buffers.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    fn numbers(&mut self, field: u64, numbers: &[u64]) {
        let mut packed = Message::default();
        for number in numbers {
            packed.varint(*number);
        }
        self.message(field, &packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_format_says() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.numbers(4, &[3, 270, 86942]);
        let expected = b"\x08\x96\x01\x12\x07testing\x22\x06\x03\x8e\x02\x9e\xa7\x05";
        assert_eq!(message.0, expected);
    }

    #[test]
    fn things_are_numbered_in_their_order() {
        let mut texts = Numbered::default();
        assert_eq!(
            ["a", "b", "a", "c"].map(|text| texts.number(text)),
            [0, 1, 0, 2]
        );
        assert_eq!(texts.all(), ["a", "b", "c"]);
    }
}
