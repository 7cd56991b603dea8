//! Connections and their limits: how many, how long, and how much of a request is read.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Site, routes};

/// Connections at a time; one more is told so and closed.
const CONNECTIONS: usize = 64;
/// Bytes of a request's line and headers.
const HEADERS: usize = 16 << 10;
/// A request's headers have to be there in this time, the first ones and those after a pause.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// A connection takes requests for so long, and the last one has so long to end: slow readers and writers lose it.
const LIFE: Duration = Duration::from_secs(30);
const LAST: Duration = Duration::from_secs(10);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 29\r\n\
                      content-type: text/plain\r\n\r\ntoo many connections; go away";

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, site: Arc<Site>) {
    let router = routes::router(site);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // A connection that is gone again, or no file descriptor left: neither is over sooner by asking at once.
            Err(_) => {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let router = router.clone();
                tokio::spawn(async move {
                    converse(stream, router).await;
                    drop(place);
                });
            }
            Err(_) => {
                let _ = stream.try_write(FULL);
            }
        }
    }
}

/// The requests of one connection.
async fn converse(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = sleep(LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST, connection).await;
        }
    }
}
