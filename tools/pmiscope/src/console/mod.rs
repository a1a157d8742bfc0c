//! A terminal, or what a script writes and reads, connected to the serial port of a guest.

mod held;
mod output;
mod terminal;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::SerialLine;
use held::Held;
use output::Output;
use terminal::RawTerminal;

/// Leaves the guest, typed on a terminal: ^].
const ESCAPE: u8 = 0x1d;

/// How long a guest may be silent, and how long it may go on, once there is nothing more to be typed.
const SILENCE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// The most bytes that wait for the guest: more is not read.
const MAX_WAITING_BYTES: usize = 4096;

/// Why nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Somebody has typed ^].
    Left,
    /// The guest's QEMU has closed the line.
    Closed,
}

/// Standard input and output, connected to a guest.
pub struct Console {
    line: SerialLine,
    /// What the guest writes.
    output: Output,
    /// Its terminal, which is as it was when this is dropped.
    terminal: Option<RawTerminal>,
    /// What the guest has not taken yet.
    waiting: VecDeque<u8>,
    /// Until it has its prompt, it gets nothing.
    held: Option<Held>,
    /// When standard input has ended, if so.
    input_ended: Option<Instant>,
    /// When the guest wrote last, or took something.
    active: Instant,
}

impl Console {
    /// Connects standard input and output. A terminal is in raw mode then: each key is the guest's, but ^].
    ///
    /// # Errors
    ///
    /// Those of changing the terminal, and of a thread.
    pub fn new(line: SerialLine) -> io::Result<Self> {
        Ok(Self {
            output: Output::of(line.stream.try_clone()?)?,
            line,
            terminal: RawTerminal::new()?,
            waiting: VecDeque::new(),
            held: None,
            input_ended: None,
            active: Instant::now(),
        })
    }

    /// The same to a guest that boots: what is typed waits until it has this prompt.
    #[must_use]
    pub(crate) fn held_until(self, prompt: Option<&'static str>) -> Self {
        Self {
            held: prompt.map(Held::until),
            ..self
        }
    }

    /// Returns true if it would be a terminal that is connected.
    #[must_use]
    pub fn has_terminal() -> bool {
        io::stdin().is_terminal()
    }

    /// Moves what there is in both directions, and never waits for either side.
    ///
    /// # Errors
    ///
    /// Those of standard input and output.
    pub fn pump(&mut self) -> io::Result<Option<Ended>> {
        let has_left = self.take_input()?;
        let is_taken = self.give_input();
        if has_left {
            return Ok(Some(Ended::Left));
        }
        let is_open = self.show_output()?;
        Ok((!is_taken || !is_open).then_some(Ended::Closed))
    }

    /// Returns true while more may be typed.
    #[must_use]
    pub const fn has_input(&self) -> bool {
        self.input_ended.is_none()
    }

    /// Returns true once standard input has ended, and the guest has nothing more to say to it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let ended = self.input_ended.filter(|_| self.held.is_none());
        ended.is_some_and(|ended| {
            self.active.max(ended).elapsed() >= SILENCE || ended.elapsed() >= LONGEST
        })
    }

    /// Waits until something was typed, but no longer than this.
    pub fn wait(&self, longest: Duration) {
        let stdin = io::stdin();
        let timeout = Timespec::try_from(longest).ok();
        if self.has_input() && self.has_room() {
            // A signal ends it early, which is no harm.
            let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], timeout.as_ref());
        } else {
            thread::sleep(longest);
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING_BYTES
    }

    /// Reads what was typed. Returns true if that was to leave.
    fn take_input(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        while self.has_input() && self.has_room() && is_readable(&stdin) {
            let mut bytes = [0; 512];
            // Not through a buffer, of which `poll` would not know.
            let read = match rustix::io::read(stdin.as_fd(), &mut bytes) {
                Ok(read) => read,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(false),
                // The terminal has gone.
                Err(rustix::io::Errno::IO) => 0,
                Err(error) => return Err(error.into()),
            };
            if read == 0 {
                self.input_ended = Some(Instant::now());
                return Ok(false);
            }
            let typed = &bytes[..read];
            let end = typed.iter().position(|&byte| byte == ESCAPE);
            let end = end.filter(|_| self.terminal.is_some());
            self.waiting.extend(&typed[..end.unwrap_or(read)]);
            if end.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes to the guest what it takes. Returns false if it takes nothing any more.
    fn give_input(&mut self) -> bool {
        if self.held.is_some() {
            return true;
        }
        while !self.waiting.is_empty() {
            let (bytes, _) = self.waiting.as_slices();
            match self.line.stream.write(bytes) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    self.active = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Shows what the guest has written. Returns false if it writes nothing any more.
    fn show_output(&mut self) -> io::Result<bool> {
        let (bytes, is_open) = self.output.take();
        if !bytes.is_empty() {
            self.active = Instant::now();
            self.look_for_prompt(&bytes);
            let mut stdout = io::stdout().lock();
            stdout.write_all(&bytes)?;
            stdout.flush()?;
        } else {
            self.look_for_prompt(&[]);
        }
        Ok(is_open)
    }

    /// Gives what was typed free once the guest has its prompt.
    fn look_for_prompt(&mut self, written: &[u8]) {
        let active = self.active;
        let held = self.held.as_mut();
        if held.is_some_and(|held| held.is_over(written, active)) {
            self.held = None;
            // It has as long from here on.
            self.input_ended = self.input_ended.map(|_| Instant::now());
        }
    }
}

fn is_readable(stdin: &io::Stdin) -> bool {
    let mut wanted = [PollFd::new(stdin, PollFlags::IN)];
    let now = Timespec::default();
    poll(&mut wanted, Some(&now)).is_ok_and(|ready| ready > 0)
}
