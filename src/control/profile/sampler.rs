//! The stacks of whoever is interrupted: walked in the handler of the signal, fetched and counted by the thread that takes
//! the profile. All of it is given back when the profile is taken.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use framehop::{
    CacheNative, FrameAddress, MustNotAllocateDuringUnwind, UnwindRegsNative, Unwinder,
    UnwinderNative,
};

use super::interrupt::{self, Registers};
use super::modules;

/// The frames of a stack that are kept, beginning with the function that was running.
const DEPTH_MAX: usize = 128;
/// How often samples are fetched. The name of a thread is asked for then, so most of those that end have one.
const FETCH_PERIOD: Duration = Duration::from_millis(100);
/// The words of all samples between two fetches: a tenth of a second of a hundred processors, with deep stacks.
const WORDS_MAX: usize = 128 << 10;

/// What the handler works with, while a profile is taken.
static SAMPLER: Mutex<Option<Sampler>> = Mutex::new(None);

struct Sampler {
    unwinder: UnwinderNative<Vec<u8>, MustNotAllocateDuringUnwind>,
    cache: Box<CacheNative<MustNotAllocateDuringUnwind>>,
    memory: Memory,
    /// One sample after another: the thread's number, how many frames there are, and those.
    words: Vec<u64>,
}

/// How often each stack was seen.
pub type Stacks = HashMap<Stack, u64>;

/// A thread and what it was doing.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    pub thread: String,
    /// An address within each function, the one that was running first.
    pub frames: Vec<u64>,
}

/// Samples all threads for so long.
pub fn sample(length: Duration, hertz: i64) -> io::Result<Stacks> {
    let mut unwinder = UnwinderNative::new();
    for module in modules::loaded()? {
        unwinder.add_module(module);
    }
    replace(Some(Sampler {
        unwinder,
        cache: Box::default(),
        memory: Memory::of_this_process()?,
        words: Vec::with_capacity(WORDS_MAX),
    }));
    let stacks = fetch_for(length, hertz);
    replace(None);
    stacks
}

fn replace(sampler: Option<Sampler>) {
    let mut place = SAMPLER.lock().unwrap_or_else(PoisonError::into_inner);
    let before = std::mem::replace(&mut *place, sampler);
    drop(place);
    drop(before);
}

fn fetch_for(length: Duration, hertz: i64) -> io::Result<Stacks> {
    let until = Instant::now() + length;
    let mut counts = Counts::default();
    let mut words = Vec::with_capacity(WORDS_MAX);
    let interrupts = interrupt::begin(hertz, interrupted)?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        thread::sleep(left.min(FETCH_PERIOD));
        let mut sampler = SAMPLER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sampler) = sampler.as_mut() {
            std::mem::swap(&mut sampler.words, &mut words);
        }
        drop(sampler);
        counts.add(&words);
        words.clear();
        if left.is_zero() {
            break;
        }
    }
    drop(interrupts);
    Ok(counts.stacks)
}

#[derive(Debug, Default)]
struct Counts {
    stacks: Stacks,
    names: HashMap<u64, String>,
}

impl Counts {
    fn add(&mut self, mut words: &[u64]) {
        while let [thread, depth, rest @ ..] = words {
            let (frames, others) = rest.split_at(*depth as usize);
            words = others;
            let name = self
                .names
                .entry(*thread)
                .or_insert_with(|| name_of(*thread));
            let stack = Stack {
                thread: name.clone(),
                frames: frames.to_vec(),
            };
            *self.stacks.entry(stack).or_default() += 1;
        }
    }
}

/// The name of a thread of this process, or its number if it has ended.
fn name_of(thread: u64) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    name.map_or_else(|_| thread.to_string(), |name| name.trim_end().to_string())
}

/// A thread was interrupted. It neither allocates nor waits: that thread may hold any lock, the allocator's, too.
fn interrupted(registers: &Registers) {
    // Another thread is looked at, or the samples are being fetched: this one is not counted.
    if let Ok(mut sampler) = SAMPLER.try_lock()
        && let Some(sampler) = sampler.as_mut()
    {
        sampler.take(registers);
    }
}

impl Sampler {
    fn take(&mut self, registers: &Registers) {
        let first = self.words.len();
        if self.words.capacity() - first < 2 + DEPTH_MAX {
            return;
        }
        self.words
            .push(rustix::thread::gettid().as_raw_nonzero().get() as u64);
        self.words.push(0);
        self.memory.forget();
        let mut word = |address| self.memory.word(address).ok_or(());
        let mut frames = self.unwinder.iter_frames(
            registers.instruction,
            unwind_registers(registers),
            &mut self.cache,
            &mut word,
        );
        let mut depth = 0;
        while depth < DEPTH_MAX
            && let Ok(Some(frame)) = frames.next()
        {
            self.words.push(FrameAddress::address_for_lookup(frame));
            depth += 1;
        }
        self.words[first + 1] = depth as u64;
    }
}

#[cfg(target_arch = "x86_64")]
fn unwind_registers(registers: &Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.instruction, registers.stack, registers.frame)
}

#[cfg(target_arch = "aarch64")]
fn unwind_registers(registers: &Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.link, registers.stack, registers.frame)
}

/// The memory of this process, read through the kernel: an address that is none is an error there, and no fault.
struct Memory {
    file: File,
    /// What was read last, and where it stands. A stack is read from its end on, a few words in each frame.
    at: u64,
    length: usize,
    bytes: [u8; 1024],
}

impl Memory {
    fn of_this_process() -> io::Result<Memory> {
        Ok(Memory {
            file: File::open("/proc/self/mem")?,
            at: 0,
            length: 0,
            bytes: [0; 1024],
        })
    }

    fn forget(&mut self) {
        self.length = 0;
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.at);
        let within = |offset: &u64| {
            let end = offset.checked_add(8);
            end.is_some_and(|end| end <= self.length as u64)
        };
        let offset = match offset.filter(within) {
            Some(offset) => offset as usize,
            None => {
                self.length = 0;
                self.length = self.file.read_at(&mut self.bytes, address).ok()?;
                self.at = address;
                0
            }
        };
        let bytes = self.bytes[..self.length].get(offset..offset + 8)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_what_is_none_is_no_fault() {
        let own = [7u64, 8, 9];
        let mut memory = Memory::of_this_process().expect("it can be read");
        // Behind nothing that was read, a word at the very end has no end of its own.
        assert_eq!(memory.word(u64::MAX), None);
        let address = own.as_ptr() as u64;
        for (index, word) in own.iter().enumerate() {
            assert_eq!(memory.word(address + 8 * index as u64), Some(*word));
        }
        for address in [0, 8, u64::MAX, u64::MAX - 8, 1 << 47] {
            assert_eq!(memory.word(address), None);
        }
    }

    #[test]
    fn equal_stacks_are_counted_together() {
        let mut counts = Counts::default();
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u64;
        counts.add(&[own, 2, 10, 11, own, 2, 10, 11, own, 0, own, 1, 10]);
        let mut seen: Vec<u64> = counts.stacks.values().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 1, 2]);
    }
}
