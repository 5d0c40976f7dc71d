//! A connection that is waited for, over which the next text can be sent before the last one is answered.
//!
//! The crate `postgres` is the same engine behind a door that lets one question through at a time. A
//! server that has run a small file then sleeps until the next one has come: a fifth of the time of a
//! thousand of them (0049).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres::types::{ToSql, Type};
use postgres::{Error, Row, SimpleQueryMessage, Socket};
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;
use tokio_postgres::{Client, Config};

use crate::system::signals;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// How often a run that changes nothing looks whether it is to go on waiting.
const TICK: Duration = Duration::from_millis(250);

/// A connection to a server.
pub(super) struct Connection {
    /// What was sent and is not answered, in the order in which the server answers.
    sent: VecDeque<Waiting<()>>,
    client: Arc<Client>,
    /// The last to go: it says goodbye once nobody has anything to ask any more.
    wire: Wire,
}

/// What reads from the socket and writes to it.
struct Wire {
    runtime: Runtime,
    /// None once it has ended.
    running: Option<Waiting<()>>,
}

/// Why there is no connection.
pub(super) enum Refused {
    /// The server, or the way to it.
    Driver(Error),
    /// This machine.
    Here(io::Error),
}

/// Why a question has no answer.
pub(super) enum Unanswered {
    /// The server, or the way to it.
    Driver(Error),
    /// This signal came, in a run that changes nothing.
    Interrupted(&'static str),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl Connection {
    /// Connects, for as long as the configuration of the driver lets it.
    pub(super) fn open<T>(config: &Config, tls: T) -> Result<Self, Refused>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
        T::TlsConnect: Send,
    {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Refused::Here)?;
        let (client, wire) = runtime.block_on(config.connect(tls)).map_err(Refused::Driver)?;
        let wire = Wire { runtime, running: Some(Box::pin(wire)) };
        Ok(Self { sent: VecDeque::new(), client: Arc::new(client), wire })
    }

    /// Runs one or more statements as they are.
    pub(super) fn batch_execute(&mut self, sql: &str) -> Result<(), Unanswered> {
        let client = Arc::clone(&self.client);
        self.wait(client.batch_execute(sql))
    }

    /// Sends one or more statements as they are, and returns before they are answered.
    pub(super) fn send(&mut self, sql: String) {
        let client = Arc::clone(&self.client);
        let mut sent: Waiting<()> = Box::pin(async move { client.batch_execute(&sql).await });
        let Wire { runtime, running } = &mut self.wire;
        let early = runtime.block_on(poll_fn(|cx| {
            // The first look at it puts it into the queue, that at the wire onto the socket.
            Poll::Ready(match sent.as_mut().poll(cx) {
                Poll::Ready(early) => Some(early),
                Poll::Pending => drive(running, cx).err().map(Err),
            })
        }));
        self.sent.push_back(match early {
            Some(early) => Box::pin(std::future::ready(early)),
            None => sent,
        });
    }

    /// Waits for the answer to the first text that was sent and not waited for.
    pub(super) fn answer(&mut self) -> Result<(), Unanswered> {
        match self.sent.pop_front() {
            Some(sent) => self.wait(sent),
            None => Ok(()),
        }
    }

    /// Waits no longer for the answers to what was sent; the server runs it all the same.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
    }

    /// Runs one or more statements as they are and returns what they say as text.
    pub(super) fn simple_query(
        &mut self,
        sql: &str,
    ) -> Result<Vec<SimpleQueryMessage>, Unanswered> {
        let client = Arc::clone(&self.client);
        self.wait(client.simple_query(sql))
    }

    /// Runs a statement and returns its rows.
    pub(super) fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unanswered> {
        let client = Arc::clone(&self.client);
        match parameters {
            // Where the server has no types to tell, one round trip does.
            [] => self.wait(client.query_typed(sql, &[])),
            some => self.wait(client.query(sql, some)),
        }
    }

    /// Runs a statement without parameters and hands over its rows as they come.
    pub(super) fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Unanswered> {
        let client = Arc::clone(&self.client);
        let none: [(&(dyn ToSql + Sync), Type); 0] = [];
        self.wait(async {
            let mut rows = pin!(client.query_typed_raw(sql, none).await?);
            while let Some(row) = rows.try_next().await? {
                take(&row)?;
            }
            Ok(())
        })
    }

    /// Runs a statement and returns how many rows it changed.
    pub(super) fn execute(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Unanswered> {
        let client = Arc::clone(&self.client);
        self.wait(client.execute(sql, parameters))
    }

    /// Returns whether the server answers within this time.
    pub(super) fn is_answered(&mut self, within: Duration) -> bool {
        let client = Arc::clone(&self.client);
        let asked = async { Ok(tokio::time::timeout(within, client.simple_query("")).await) };
        let answer = self.wait(asked);
        if matches!(answer, Ok(Err(_))) {
            self.wire.abandon();
        }
        answer.is_ok_and(|answer| matches!(answer, Ok(Ok(_))))
    }

    /// Returns whether the connection is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn wait<T>(&mut self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Unanswered> {
        let mut end = None;
        let why = {
            let work = pin!(async { end = Some(answer.await) });
            self.wire.until(work)
        };
        match end {
            Some(end) => end.map_err(Unanswered::Driver),
            // It stopped early, and said why.
            None => Err(why.unwrap_or(Unanswered::Interrupted("nobody"))),
        }
    }
}

/// Reads and writes what there is; says once why the connection has ended.
fn drive(running: &mut Option<Waiting<()>>, cx: &mut Context<'_>) -> Result<(), Error> {
    let Some(wire) = running else { return Ok(()) };
    let Poll::Ready(ended) = wire.as_mut().poll(cx) else { return Ok(()) };
    *running = None;
    ended
}

impl Wire {
    /// Works at the connection until this has ended, or says why it will not. It is not made anew for each
    /// question: a runtime that waits is a lot of code.
    fn until(&mut self, mut work: Pin<&mut dyn Future<Output = ()>>) -> Option<Unanswered> {
        let looking = signals::only_looks();
        let Self { runtime, running } = self;
        let why = runtime.block_on(async {
            let mut ticks = looking.then(|| interval(TICK));
            poll_fn(|cx| {
                if let Err(error) = drive(running, cx) {
                    return Poll::Ready(Some(Unanswered::Driver(error)));
                }
                if work.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                while ticks.as_mut().is_some_and(|ticks| ticks.poll_tick(cx).is_ready()) {
                    if let Some(signal) = signals::received() {
                        return Poll::Ready(Some(Unanswered::Interrupted(signal)));
                    }
                }
                Poll::Pending
            })
            .await
        });
        if let Some(Unanswered::Interrupted(_)) = why {
            self.abandon();
        }
        why
    }

    /// Lets the connection go without a goodbye, for which the answers would be waited for.
    fn abandon(&mut self) {
        self.running = None;
    }
}

impl Drop for Wire {
    /// Says goodbye: without it the server logs a lost connection.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    #[test]
    fn a_session_that_is_not_answered_is_closed_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            client.read_exact(&mut length).unwrap();
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
            client.read_exact(&mut vec![0; length - 4]).unwrap();
            // Authentication is done; ready.
            client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").unwrap();
            client
        });
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("x").ssl_mode(postgres::config::SslMode::Disable);
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let Ok(mut connection) = Connection::open(&config, postgres::NoTls) else { return };
            let answered = connection.is_answered(Duration::from_millis(50));
            drop(connection);
            done.send(answered).unwrap();
        });
        let _silent = server.join().unwrap();
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(false));
    }
}
