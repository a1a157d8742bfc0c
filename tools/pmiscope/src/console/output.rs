//! What a guest writes, read as soon as it is there.
//!
//! QEMU writes each byte for itself, and of such a socket has room for a few hundred of them. A guest that finds
//! its serial port busy for long drops what it has to say: so a thread reads, whatever else there is to do.

use std::io::{self, Read as _};
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// The most bytes that are kept for a standard output that takes none.
const MAX_BYTES: usize = 64 << 20;
/// The wait for room there.
const ROOM: Duration = Duration::from_millis(10);

/// What has come, and whether that was all.
#[derive(Default)]
struct Arrived {
    bytes: Vec<u8>,
    has_ended: bool,
}

/// What a guest writes, until dropped.
pub(super) struct Output {
    stream: UnixStream,
    arrived: Arc<Mutex<Arrived>>,
}

impl Output {
    /// Reads from this connection.
    pub(super) fn of(stream: UnixStream) -> io::Result<Self> {
        let arrived = Arc::<Mutex<Arrived>>::default();
        let (reading, to) = (stream.try_clone()?, Arc::clone(&arrived));
        thread::Builder::new()
            .name("console".into())
            .spawn(move || read_all(reading, &to))?;
        Ok(Self { stream, arrived })
    }

    /// What has come since, and whether more may come.
    pub(super) fn take(&self) -> (Vec<u8>, bool) {
        let mut arrived = lock(&self.arrived);
        (mem::take(&mut arrived.bytes), !arrived.has_ended)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The thread ends by that.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn lock(arrived: &Mutex<Arrived>) -> impl std::ops::DerefMut<Target = Arrived> + '_ {
    arrived.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(mut stream: UnixStream, to: &Mutex<Arrived>) {
    let mut bytes = [0; 4096];
    loop {
        while lock(to).bytes.len() >= MAX_BYTES {
            thread::sleep(ROOM);
        }
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => lock(to).bytes.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(&stream, PollFlags::IN)], None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lock(to).has_ended = true;
}
