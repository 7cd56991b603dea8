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

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; one more is told so and closed.
    connections: usize,
    /// Bytes of a request's line and headers.
    headers: usize,
    /// A request's headers have to be there in this time, the first ones and those after a pause.
    header_time: Duration,
    /// A connection takes requests for so long, and the last one has so long to end: slow readers and writers lose it.
    life: Duration,
    last: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            headers: 16 << 10,
            header_time: Duration::from_secs(10),
            life: Duration::from_secs(30),
            last: Duration::from_secs(10),
        }
    }
}

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
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
                    converse(stream, router, limits).await;
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
async fn converse(stream: TcpStream, router: Router, limits: Limits) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.headers)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = sleep(limits.life) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(limits.last, connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const LIMITS: Limits = Limits {
        connections: 8,
        headers: 16 << 10,
        header_time: Duration::from_millis(300),
        life: Duration::from_millis(600),
        last: Duration::from_millis(100),
    };

    async fn start() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let large = || async { vec![0u8; 64 << 20] };
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/large", get(large));
        tokio::spawn(serve(listener, router, LIMITS));
        address
    }

    /// All that comes until the connection ends.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = vec![];
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("the connection ends");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn clients_that_are_slow_lose_their_connection() {
        run(async {
            let address = start().await;
            for (request, expected) in [
                ("", ""),
                ("GET / HT", ""),
                // Kept open for another request that does not come.
                ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "here"),
            ] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let found = rest(&mut stream).await;
                assert!(found.ends_with(expected), "{request:?}: {found}");
            }
            // One who asks for much and takes little.
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            sleep(LIMITS.life + LIMITS.last * 3).await;
            let received = rest(&mut stream).await.len();
            assert!(received < 64 << 20, "{received} bytes: all of it was sent");
        });
    }

    #[test]
    fn headers_and_connections_have_an_end() {
        run(async {
            let address = start().await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            let large = format!("GET / HTTP/1.1\r\nhost: x\r\nlarge: {}\r\n\r\n", "x".repeat(1 << 20));
            // The answer may come before all is sent.
            let _ = stream.write_all(large.as_bytes()).await;
            let mut status = [0; 12];
            let _ = timeout(PATIENCE, stream.read_exact(&mut status)).await;
            assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 431");
            drop(stream);

            let mut streams = vec![];
            for _ in 0..LIMITS.connections * 3 {
                streams.push(TcpStream::connect(address).await.unwrap());
            }
            let mut full = 0;
            for stream in &mut streams {
                full += usize::from(rest(stream).await.starts_with("HTTP/1.1 503"));
            }
            assert!(
                (LIMITS.connections..=LIMITS.connections * 2).contains(&full),
                "{full} were told to go away"
            );
            // Their places are free again.
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert!(rest(&mut stream).await.ends_with("here"));
        });
    }
}
