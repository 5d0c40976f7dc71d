//! How many are talked to at once and for how long: who says nothing keeps nobody else waiting.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::patience::Patience;

/// How many connections there may be at once; others wait to be accepted. Databases and files need
/// descriptors too, and systemd gives a service 1,024.
const MOST: usize = 256;

/// How long a request's head may take, and how long a connection may wait for the next one.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may last; the answer under way is finished.
const LIFE: Duration = Duration::from_secs(300);

/// How long the last answer of a connection may take, read by whoever asked.
const ANSWER: Duration = Duration::from_secs(60);

/// How long requests that have begun may take once we were asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Answers whoever connects, until it is asked to stop and what has begun is answered.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let places = Arc::new(Semaphore::new(MOST));
    let (stopping, told) = watch::channel(false);
    let mut talks = JoinSet::new();
    loop {
        let next = pin!(accept(&listener, &places));
        let Some((stream, place)) = first_of(next, stop.as_mut()).await else { break };
        while talks.try_join_next().is_some() {}
        talks.spawn(talk(stream, router.clone(), told.clone(), place));
    }
    drop(listener);
    stopping.send_replace(true);
    // One that hangs is cut off: waiting for it alone would be for ever.
    let ended = async { while talks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, ended).await;
}

/// Returns the next connection, with the place that it takes.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // No descriptor is free, or whoever connected is gone: not again at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Talks to one; the place is free again at the end.
async fn talk(
    stream: TcpStream,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let service = TowerToHyperService::new(router);
    let mut talk = pin!(builder.serve_connection(TokioIo::new(Patience::with(stream)), service));
    let enough = async {
        let _ = tokio::time::timeout(LIFE, stopping.wait_for(|stopping| *stopping)).await;
    };
    if first_of(talk.as_mut(), pin!(enough)).await.is_none() {
        talk.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(ANSWER, talk).await;
    }
}

/// Returns the result of the first future, or nothing when the second one ends before it.
async fn first_of<T>(
    mut first: Pin<&mut impl Future<Output = T>>,
    mut second: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        second.as_mut().poll(context).map(|()| None)
    })
    .await
}
