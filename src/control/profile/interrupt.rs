//! A signal that interrupts whoever is running, so many times in each second of processor time, and the registers that
//! tell where it was.
//!
//! The other place with `unsafe` code, beside `allocator`: the C library installs a handler and sets a timer, the kernel
//! hands the handler a pointer to the registers, and `errno` is kept for whoever was interrupted. No Rust library wraps
//! these without its own table of samples.

use std::sync::OnceLock;
use std::{io, ptr};

use libc::{c_int, c_void, sigaction, siginfo_t, ucontext_t};

/// What the handler calls.
static CALLED: OnceLock<fn(&Registers)> = OnceLock::new();

/// Where a thread was when it was interrupted.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    pub instruction: u64,
    pub stack: u64,
    pub frame: u64,
    /// Where it returns to, on a processor that has a register for it.
    #[cfg(target_arch = "aarch64")]
    pub link: u64,
}

/// Begins to interrupt. Until [`Interrupts`] is dropped `called` runs on the stack of whoever is running: it may neither
/// allocate nor wait. It is the same function for all profiles.
pub fn begin(hertz: i64, called: fn(&Registers)) -> io::Result<Interrupts> {
    CALLED.get_or_init(|| called);
    handle(
        interrupted as *const () as usize,
        libc::SA_SIGINFO | libc::SA_RESTART,
    )?;
    // From here on the handler is taken back, whatever fails.
    let interrupts = Interrupts(());
    set_timer(1_000_000 / hertz)?;
    Ok(interrupts)
}

/// Interrupts, for as long as this is there.
#[derive(Debug)]
pub struct Interrupts(());

impl Drop for Interrupts {
    fn drop(&mut self) {
        // It is ignored and not left to its default, which ends the program: one may still be on its way.
        if let Err(error) = set_timer(0).and_then(|()| handle(libc::SIG_IGN, 0)) {
            log::warn!("cannot end a profile: {error}");
        }
    }
}

#[allow(unsafe_code)]
fn handle(handler: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: a sigaction is numbers and a mask of signals, of which all zeroes is one (the empty one); it is only read.
    // The handler is a function of the form that SA_SIGINFO asks for, or SIG_IGN.
    let result = unsafe {
        let mut action: sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGPROF, &action, ptr::null_mut())
    };
    (result == 0)
        .then_some(())
        .ok_or_else(io::Error::last_os_error)
}

/// Sends SIGPROF after each `microseconds` of the processor time of all threads, never if that is 0.
#[allow(unsafe_code)]
fn set_timer(microseconds: i64) -> io::Result<()> {
    let period = libc::timeval {
        tv_sec: 0,
        // The name of its type is deprecated with musl.
        tv_usec: microseconds as _,
    };
    let timer = libc::itimerval {
        it_interval: period,
        it_value: period,
    };
    // SAFETY: setitimer reads the one and writes nothing where the other is null (setitimer(2)).
    let result = unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, ptr::null_mut()) };
    (result == 0)
        .then_some(())
        .ok_or_else(io::Error::last_os_error)
}

/// The handler. It leaves `errno` as it was.
#[allow(unsafe_code)]
extern "C" fn interrupted(_signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a ucontext_t to a handler with SA_SIGINFO, for as long as that runs (sigaction(2)).
    let Some(context) = (unsafe { context.cast::<ucontext_t>().as_ref() }) else {
        return;
    };
    // SAFETY: the pointer is to this thread's errno, for as long as the thread runs (errno(3)).
    let errno = unsafe { *libc::__errno_location() };
    if let Some(called) = CALLED.get() {
        called(&registers(context));
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &ucontext_t) -> Registers {
    let of = |register: c_int| context.uc_mcontext.gregs[register as usize] as u64;
    Registers {
        instruction: of(libc::REG_RIP),
        stack: of(libc::REG_RSP),
        frame: of(libc::REG_RBP),
    }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &ucontext_t) -> Registers {
    let context = &context.uc_mcontext;
    Registers {
        instruction: context.pc,
        stack: context.sp,
        frame: context.regs[29],
        link: context.regs[30],
    }
}
