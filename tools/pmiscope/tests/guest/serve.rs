//! The page of a run that goes on, as a browser gets it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::ZlibDecoder;
use serde_json::Value;

use crate::ctl::Going;
use crate::fixture::folder;

/// `serve`, until the test ends.
struct Server {
    child: Child,
    /// The host with its port, and the path with the secret.
    host: String,
    path: String,
}

impl Server {
    fn start(profile: &str) -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .arg("serve")
            .arg(folder().join(profile))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let mut url = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        let behind = url.trim().strip_prefix("http://").expect("an address");
        let (host, path) = behind.split_once('/').expect("a secret");
        Self {
            child,
            host: host.to_owned(),
            path: format!("/{path}"),
        }
    }

    /// The status and the body of what it answers.
    fn get(&self, what: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let (path, host) = (&self.path, &self.host);
        write!(stream, "GET {path}{what} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let status = str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(head + 4))
    }

    /// The texts of the data, if there are any yet.
    fn data(&self) -> Option<Value> {
        let (status, body) = self.get("data");
        if status == 202 {
            return None;
        }
        assert_eq!(status, 200);
        let mut packed = ZlibDecoder::new(&*body);
        let mut length = [0; 4];
        packed.read_exact(&mut length).unwrap();
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        packed.read_exact(&mut text).unwrap();
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// How many samples the data have, once they have more than that many.
    #[track_caller]
    fn more_than(&self, before: u64) -> u64 {
        let started = Instant::now();
        loop {
            let data = self.data();
            let samples = data.map_or(0, |data| {
                data["profiles"][0]["run"]["samples"].as_u64().unwrap()
            });
            if samples > before {
                return samples;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{samples} samples, and no more"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_that_goes_on_is_served_with_what_it_has_by_now() {
    let server = Server::start("served.pmi");
    // Before there is a run.
    assert_eq!(server.get("data").0, 202);
    // Few samples a second: each look counts all of them.
    let going = Going::endless("served", "--ring 1M --period 200000");
    let (status, page) = server.get("");
    assert_eq!(status, 200);
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("<script") && page.contains("</html>"),
        "a page"
    );
    let first = server.more_than(0);
    let second = server.more_than(first);
    let third = server.more_than(second);
    let data = server.data().unwrap();
    let warnings = data["profiles"][0]["run"]["warnings"].to_string();
    assert!(warnings.contains("incomplete"), "{warnings}");
    let whole = going.end()["samples"].as_u64().unwrap();
    assert!(third <= whole, "{third} of {whole}");
    assert_eq!(server.more_than(whole - 1), whole);
    let data = server.data().unwrap();
    let warnings = data["profiles"][0]["run"]["warnings"].to_string();
    assert!(!warnings.contains("incomplete"), "{warnings}");
    assert_eq!(server.get("else").0, 404);
}
