//! Serves a page and its data to browsers on this machine.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::units::hex;

/// How long a browser may take to say what it wants.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of a request. Browsers send less than a thousand.
const MOST_BYTES: u64 = 16 << 10;

/// A server on 127.0.0.1. Who does not know its secret is told nothing.
pub(crate) struct Server {
    listener: TcpListener,
    secret: String,
}

/// What a browser asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Page,
    /// The data, unless they are the same as those with this mark.
    Data(Option<String>),
    /// Nothing that there is.
    Other,
}

/// What it is given.
pub(crate) enum Answer {
    Page(String),
    Data {
        mark: String,
        bytes: Vec<u8>,
    },
    Unchanged,
    /// There are no data yet; why.
    Unavailable(String),
    NotFound,
}

impl Server {
    /// # Errors
    ///
    /// The port is not free; the system has no random numbers.
    pub(crate) fn new(port: u16) -> io::Result<Self> {
        let mut random = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
            secret: hex(&random),
        })
    }

    /// The address of the page.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn url(&self) -> io::Result<String> {
        let port = self.listener.local_addr()?.port();
        Ok(format!("http://127.0.0.1:{port}/{}/", self.secret))
    }

    /// Answers one request. What a browser does not send, or take, is its own loss.
    ///
    /// # Errors
    ///
    /// Those of listening.
    pub(crate) fn answer(&self, answer: impl FnOnce(&Request) -> Answer) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        let port = self.listener.local_addr()?.port();
        let _ = self.answer_on(&stream, port, answer);
        Ok(())
    }

    fn answer_on(
        &self,
        stream: &TcpStream,
        port: u16,
        answer: impl FnOnce(&Request) -> Answer,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut head = Vec::new();
        let mut reader = BufReader::new(stream.take(MOST_BYTES));
        loop {
            let before = head.len();
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
            if matches!(&head[before..], b"\r\n" | b"\n") {
                break;
            }
        }
        let request = request(&String::from_utf8_lossy(&head), &self.secret, port);
        let answer = match request {
            Request::Other => Answer::NotFound,
            request => answer(&request),
        };
        write(stream, answer)
    }
}

/// What the head of a request asks for.
fn request(head: &str, secret: &str, port: u16) -> Request {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some("GET"), Some(path)) = (words.next(), words.next()) else {
        return Request::Other;
    };
    let header = |name: &str| {
        let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = headers.find(|header| header.0.eq_ignore_ascii_case(name));
        found.map(|header| header.1.trim())
    };
    // A name of somebody else's that leads here is not the page's.
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    if !header("host").is_some_and(|host| hosts.iter().any(|it| it == host)) {
        return Request::Other;
    }
    match path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(secret))
    {
        Some("/") => Request::Page,
        Some("/data") => Request::Data(header("if-none-match").map(str::to_owned)),
        _ => Request::Other,
    }
}

fn write(mut stream: &TcpStream, answer: Answer) -> io::Result<()> {
    let (status, kind, mark, body) = match answer {
        Answer::Page(page) => (
            "200 OK",
            "text/html; charset=utf-8",
            None,
            page.into_bytes(),
        ),
        Answer::Data { mark, bytes } => ("200 OK", "application/octet-stream", Some(mark), bytes),
        Answer::Unchanged => ("304 Not Modified", "text/plain", None, Vec::new()),
        Answer::Unavailable(reason) => {
            let kind = "text/plain; charset=utf-8";
            ("202 Accepted", kind, None, reason.into_bytes())
        }
        Answer::NotFound => ("404 Not Found", "text/plain", None, Vec::new()),
    };
    let mark = mark.map_or(String::new(), |mark| format!("ETag: {mark}\r\n"));
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{mark}Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_is_answered() {
        let of = |head: &str| request(head, "secret", 80);
        let host = "Host: 127.0.0.1:80\r\n\r\n";
        assert_eq!(
            of(&format!("GET /secret/ HTTP/1.1\r\n{host}")),
            Request::Page
        );
        assert_eq!(
            of(&format!("GET /secret/data HTTP/1.1\r\n{host}")),
            Request::Data(None)
        );
        assert_eq!(
            of(&format!(
                "GET /secret/data HTTP/1.1\r\nIf-None-Match: \"7\"\r\n{host}"
            )),
            Request::Data(Some("\"7\"".into()))
        );
        for head in [
            format!("GET / HTTP/1.1\r\n{host}"),
            format!("GET /secret HTTP/1.1\r\n{host}"),
            format!("GET /secre/ HTTP/1.1\r\n{host}"),
            format!("GET /secret/../etc HTTP/1.1\r\n{host}"),
            format!("POST /secret/ HTTP/1.1\r\n{host}"),
            "GET /secret/ HTTP/1.1\r\nHost: evil.example:80\r\n\r\n".to_owned(),
            "GET /secret/ HTTP/1.1\r\n\r\n".to_owned(),
            String::new(),
            "\r\n".to_owned(),
        ] {
            assert_eq!(of(&head), Request::Other, "{head:?}");
        }
    }
}
