//! Settings of the memory allocator: the number of heaps ([`limit_heaps`]), when to return free memory to the system,
//! both when idle ([`give_back`]) and while busy ([`watch`]), and threads that should not keep memory for long
//! ([`apart`]).
//!
//! One of two places with `unsafe` code (the other interrupts threads for a CPU profile): three calls into the C library
//! that take numbers or nothing, touch only memory that the allocator holds free, and that no Rust library wraps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, panic, thread};

use crate::clock::Clock;
use crate::pulse::Pulse;

/// A program with less memory than this is left alone, and so is one that has less than this to return, in bytes.
const WORTHWHILE: usize = 16 << 20;
/// The longest time between two looks, when what is free cannot be returned, in periods.
const PATIENCE_MAX: u32 = 32;
/// The longest time between two looks, however long one takes, in periods.
const PRICE_MAX: u32 = 300;

/// Whether somebody rests and has given up what it kept: what is free is to be returned.
static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Has all threads allocate from so many heaps, one for each worker. To be called before there are threads.
///
/// Each thread would get a heap of its own otherwise, up to eight for each processor, of which only the first returns
/// the end that it does not use. The threads beside the workers allocate little and can share theirs. (With one heap
/// for several workers their replies of 100 KiB cost a tenth more; below 16 KiB the data path allocates nothing.)
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn limit_heaps(workers: usize) {
    let heaps = libc::c_int::try_from(workers.max(1)).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes any numbers and changes a setting of the allocator (mallopt(3)).
    let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    debug_assert_eq!(taken, 1);
}

/// Other C libraries have their own ways.
#[cfg(not(target_env = "gnu"))]
pub fn limit_heaps(_workers: usize) {}

/// Gives up what the allocator keeps for this thread, and has all that is free returned to the system soon, by the thread
/// that [`watch`]es: with much that is free it takes tens of milliseconds, in which a request may come.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    give_up_kept();
    IS_WANTED.store(true, Ordering::Relaxed);
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn trim() {
    // SAFETY: malloc_trim takes any number and may be called by any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// Returns what the allocator holds free: when a worker has come to rest, and while the program is busy. A worker that
/// always has something to do never rests, and what one large value or a burst has taken would stay for as long.
///
/// A thread of its own looks once a second while the memory of the process changes. Who allocates from a heap waits
/// while the C library counts its free pieces (100 to 250 ns each) or returns them (200 MiB in 10 to 40 ms; what has been
/// returned before in 0.5 µs each). The data path takes its blocks from the worker's pool, but what a near cache forgets
/// leaves many pieces. So the time is measured, and the next look waits until this one was a thousandth of the time.
pub fn watch(clock: Clock, pulse: Arc<Pulse>) -> io::Result<()> {
    if cfg!(not(target_env = "gnu")) {
        return Ok(());
    }
    let statm = File::open("/proc/self/statm");
    let page = rustix::param::page_size();
    let resident = move || {
        let known = statm.as_ref().ok().and_then(|statm| resident(statm, page));
        known.unwrap_or(0)
    };
    thread::Builder::new()
        .name("memory".to_string())
        .spawn(move || {
            let mut frugality = Frugality::default();
            let mut last = 0;
            let mut is_busy = true;
            loop {
                pulse.wait(is_busy);
                let own = resident();
                is_busy = own >= WORTHWHILE && std::mem::replace(&mut last, own) != own;
                let is_wanted = IS_WANTED.load(Ordering::Relaxed);
                if !frugality.may_look(is_wanted) {
                    continue;
                }
                let began = clock.now();
                let look = || Seen {
                    resident: own,
                    handed_out: handed_out(),
                };
                let seen = (own >= WORTHWHILE && !is_wanted).then(look);
                let due = seen.filter(|seen| frugality.is_due(seen));
                let mut returned = 0;
                if is_wanted || due.is_some() {
                    IS_WANTED.store(false, Ordering::Relaxed);
                    trim();
                    returned = own.saturating_sub(resident());
                    log::debug!("memory: {returned} bytes returned");
                }
                if let Some(seen) = due {
                    frugality.returned(&seen, returned);
                }
                frugality.pay(clock.now().since(began), returned);
            }
        })
        .map(|_detached| ())
}

/// The memory of this process at one moment, in bytes.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// In RAM, without what is a file's.
    resident: usize,
    /// What the allocator has handed out, modulo 2^32: the C library counts so.
    handed_out: u32,
}

impl Seen {
    /// What the allocator holds free in RAM.
    fn free(&self) -> usize {
        let free = (self.resident as u32).wrapping_sub(self.handed_out);
        // More is handed out than is in RAM: nobody has touched it yet.
        let less_than_none = free > 3 << 30;
        if less_than_none { 0 } else { free as usize }
    }
}

/// The memory of this process that is in RAM and not a file's, if the kernel says so.
fn resident(statm: &File, page: usize) -> Option<usize> {
    let mut text = [0; 128];
    let count = statm.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..count]).ok()?;
    let mut pages = text.split(' ').skip(1);
    let mut next = || pages.next()?.parse::<usize>().ok();
    let (all, files) = (next()?, next()?);
    Some(all.saturating_sub(files) * page)
}

/// Decides when to look, and when it is worthwhile to return memory.
#[derive(Debug)]
struct Frugality {
    /// Periods until the last look is paid for.
    debt: u32,
    /// Periods until the next look that nobody asks for.
    left: u32,
    /// How many there are between two returns, at least.
    patience: u32,
}

impl Default for Frugality {
    fn default() -> Frugality {
        Frugality {
            debt: 0,
            left: 0,
            patience: 1,
        }
    }
}

impl Frugality {
    /// A period has gone by. Whether to look now, or to return what is free because somebody wants it.
    fn may_look(&mut self, is_wanted: bool) -> bool {
        self.debt = self.debt.saturating_sub(1);
        self.left = self.left.saturating_sub(1);
        self.debt == 0 && (is_wanted || self.left == 0)
    }

    /// Whether to return what is free.
    fn is_due(&self, seen: &Seen) -> bool {
        let used = seen.resident - seen.free().min(seen.resident);
        seen.free() >= WORTHWHILE.max(used / 4)
    }

    /// So much has been returned. Where it was little, because each piece that is in use holds its page, it is tried
    /// less and less often.
    fn returned(&mut self, before: &Seen, bytes: usize) {
        self.patience = if bytes >= before.free() / 4 {
            1
        } else {
            (self.patience * 2).min(PATIENCE_MAX)
        };
        self.left = self.patience;
    }

    /// A look took so long, with what it has returned: a period for each millisecond, which is a thousandth of the
    /// time. Returning much may take a hundredth: whoever took it waited for the kernel as well.
    fn pay(&mut self, time: Duration, returned: usize) {
        let share = if returned >= WORTHWHILE { 10 } else { 1 };
        let periods = time.as_millis() / share + 1;
        self.debt = periods.min(PRICE_MAX.into()) as u32;
    }
}

/// What the allocator has handed out, in bytes modulo 2^32. It counts all free pieces: for now and then.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn handed_out() -> u32 {
    // SAFETY: mallinfo takes nothing, returns numbers, and may be called by any thread at any time (mallinfo(3)).
    let info = unsafe { libc::mallinfo() };
    (info.uordblks as u32).wrapping_add(info.hblkhd as u32)
}

#[cfg(not(target_env = "gnu"))]
fn handed_out() -> u32 {
    0
}

/// The free pieces of each little size that glibc keeps for a thread, and those sizes in bytes (its tcache, as it is
/// without tunables: 64 sizes, 16 bytes apart).
#[cfg(target_env = "gnu")]
const KEPT_EACH: usize = 7;
#[cfg(target_env = "gnu")]
const KEPT_SIZES: std::ops::RangeInclusive<usize> = 24..=1032;

/// Gives up the free pieces that the allocator keeps for this thread: malloc_trim cannot have them, and each holds its
/// page. They are taken from it by asking for so many, and given to a thread that ends.
#[cfg(target_env = "gnu")]
fn give_up_kept() {
    let of_size =
        |size| std::iter::repeat_with(move || Vec::<u8>::with_capacity(size)).take(KEPT_EACH);
    let mut kept: Vec<Vec<u8>> = KEPT_SIZES.step_by(16).flat_map(of_size).collect();
    apart("memory", || drop(std::mem::take(&mut kept)));
}

/// What ends the name of a thread that lives only for one piece of work.
pub const PASSING: &str = "-once";

/// Does it on a thread that ends with it and is named for it (`topology-once`): for what allocates much now and then, beside the data path.
///
/// Each thread of glibc keeps up to seven free pieces of each little size for itself, and a piece holds its page. Those
/// of a thread that works in the middle of failovers lie far apart, each among what has gone since. They are given up
/// when their thread ends.
pub fn apart<T: Send>(name: &str, mut act: impl FnMut() -> T + Send) -> T {
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().name(format!("{name}{PASSING}"));
        let thread = thread.spawn_scoped(scope, &mut act).ok()?;
        Some(thread.join())
    });
    match done {
        Some(Ok(result)) => result,
        Some(Err(panic)) => panic::resume_unwind(panic),
        // No thread is to be had just now.
        None => act(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn seen(resident: usize, used: usize) -> Seen {
        Seen {
            resident: resident * MIB,
            handed_out: (used * MIB) as u32,
        }
    }

    #[test]
    fn memory_is_returned_when_much_of_it_is_free() {
        let frugality = Frugality::default();
        assert!(!frugality.is_due(&seen(30, 20)));
        assert!(frugality.is_due(&seen(207, 8)));
        // A fifth of much is not worth it.
        assert!(!frugality.is_due(&seen(2400, 2000)));
        // Beyond 4 GiB, where the count begins anew.
        assert!(!frugality.is_due(&seen(5000, 4990)));
        assert!(frugality.is_due(&seen(5000, 3000)));
        // What is handed out and not touched is not in RAM.
        assert_eq!(seen(100, 300).free(), 0);
        assert!(!frugality.is_due(&seen(100, 300)));
    }

    #[test]
    fn what_cannot_be_returned_is_tried_less_and_less_often() {
        let mut frugality = Frugality::default();
        let stuck = seen(100, 50);
        let mut tries = Vec::new();
        for second in 0..200 {
            if frugality.may_look(false) && frugality.is_due(&stuck) {
                tries.push(second);
                frugality.returned(&stuck, MIB);
            }
        }
        assert_eq!(tries, [0, 2, 6, 14, 30, 62, 94, 126, 158, 190]);
        while !frugality.may_look(false) {}
        frugality.returned(&stuck, 40 * MIB);
        assert!(frugality.may_look(false));
    }

    #[test]
    fn a_look_that_takes_long_is_had_less_often() {
        let periods = |micros, returned| {
            let mut frugality = Frugality::default();
            frugality.pay(Duration::from_micros(micros), returned * MIB);
            (1..).find(|_| frugality.may_look(false)).expect("it ends")
        };
        assert_eq!(periods(0, 0), 1);
        assert_eq!(periods(900, 0), 1);
        assert_eq!(periods(6500, 0), 7);
        assert_eq!(periods(6500, 15), 7);
        // Returning much is worth more.
        assert_eq!(periods(20_000, 200), 3);
        assert_eq!(periods(220_000, 1000), 23);
        // However long one takes, there is another.
        assert_eq!(periods(u64::MAX, 0), PRICE_MAX);
    }

    #[test]
    fn who_rests_waits_for_what_was_paid_and_not_for_what_is_stuck() {
        let mut frugality = Frugality::default();
        let stuck = seen(100, 50);
        for _ in 0..5 {
            frugality.returned(&stuck, MIB);
        }
        frugality.pay(Duration::from_millis(2), MIB);
        assert!(!frugality.may_look(true));
        assert!(!frugality.may_look(true));
        assert!(!frugality.may_look(false));
        assert!(frugality.may_look(true));
    }

    /// What is resident of this very process follows what it frees. Other tests take and free memory of it meanwhile, so
    /// that one try tells little.
    #[test]
    #[cfg(target_env = "gnu")]
    fn pieces_between_others_are_returned() {
        let statm = File::open("/proc/self/statm").unwrap();
        let page = rustix::param::page_size();
        let look = || Seen {
            resident: resident(&statm, page).unwrap(),
            handed_out: handed_out(),
        };
        let mut seen = Vec::new();
        let returned = (0..10).any(|_| {
            let mut blocks: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; 64 << 10]).collect();
            let full = look();
            // The last one holds the end of the heap.
            blocks.drain(..1990);
            let free = look();
            trim();
            let after = look();
            let was_free = free.free() > full.free() + 100 * MIB;
            let is_returned = after.resident + 100 * MIB < full.resident;
            seen.push((full, free, after));
            was_free && is_returned
        });
        assert!(returned, "{seen:?}");
    }
}
