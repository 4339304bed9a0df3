//! The shop's own binary, started on a free port with a folder of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Failure, Folder, Outcome};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);
/// Between two looks at a process that has no event to wait for.
const LOOK: Duration = Duration::from_millis(10);

/// A running shop.
pub(crate) struct Shop {
    child: Child,
    port: u16,
    data: Folder,
}

impl Shop {
    /// Starts a shop on an empty folder and waits until it answers.
    pub(crate) fn start() -> Outcome<Self> {
        let data = Folder::new("shop")?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = spawn(port, &data)?;
        let mut shop = Self { child, port, data };
        shop.wait_until_it_answers()?;
        Ok(shop)
    }

    /// Where its page is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Ends the shop the hard way, with no chance to put anything in order.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, on the same port and folder.
    pub(crate) fn start_again(&mut self) -> Outcome {
        self.child = spawn(self.port, &self.data)?;
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> Outcome {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure(format!(
                    "the shop ended with {status} instead of serving {}",
                    self.url()
                )));
            }
            if answers(self.port) {
                return Ok(());
            }
            std::thread::park_timeout(LOOK);
        }
        Err(Failure(format!("the shop did not answer on {} in {START:?}", self.url())))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Asked to stop, it takes its bank along; what does not stop is killed.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, data: &Folder) -> Outcome<Child> {
    Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| Failure(format!("the shop cannot be started: {error}")))
}

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
