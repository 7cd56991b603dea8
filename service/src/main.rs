//! `uretinex-service`: calls RTSP cameras, makes their video bright and clean, and serves it again as RTSP, with a web page,
//! settings that act at once, and figures for those who watch it.
//!
//! Exit status: 0 it was told to stop, 1 it could not start, 2 the command line is wrong.

mod address;
mod audio;
mod backoff;
mod camera;
mod capture;
mod config;
mod encoder;
mod figures;
mod fleet;
mod heap;
mod http;
mod live;
mod relay;
mod rtsp;
mod save;
mod secret;
mod snapshot;
mod stream;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use config::Config;
use fleet::Fleet;
use http::Site;

/// How often systemd is told at most, and what stands for never.
const SOON: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(3600);

/// Serves RTSP cameras made bright and clean with URetinex-Net
///
/// SIGHUP reads the configuration anew: cameras that are the same in it go on without an interruption. SIGTERM and SIGINT
/// stop the service.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/uretinex/service.toml")]
    config: PathBuf,
    /// Check the configuration, and start nothing
    #[arg(long)]
    check: bool,
}

/// Messages, on standard error.
struct Log;

impl log::Log for Log {
    /// The program's own messages, and warnings of the library, which would repeat the rest at every call of a camera.
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let target = metadata.target();
        target.starts_with(env!("CARGO_CRATE_NAME"))
            || target.starts_with("uretinex") && metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            // Where standard error is closed or full there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    heap::set_up();
    let args = Args::parse();
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    gst::init().map_err(|e| format!("GStreamer does not start: {e}"))?;
    gsturetinex::plugin_register_static().map_err(|e| format!("the element is not registered: {e}"))?;
    let config = Config::read(&args.config)?;
    if args.check {
        println!(
            "{}: nothing wrong, cameras: {}",
            args.config.display(),
            config.cameras.len()
        );
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| format!("no threads for HTTP: {e}"))?;
    let done = runtime.block_on(serve(args, config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(args: &Args, config: Config) -> Result<(), String> {
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| format!("cannot listen on {listen}: {e}; see [http] listen"))?;
    let trouble = |e: std::io::Error| format!("signals: {e}");
    let mut hangup = signal(SignalKind::hangup()).map_err(trouble)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(trouble)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(trouble)?;

    let (http, rtsp_ip) = (config.http.clone(), config.rtsp.listen.ip());
    let fleet = Arc::new(blocking(move || Fleet::start(config)).await??);
    let site = Arc::new(Site::new(fleet.clone(), args.config.clone(), http));
    let page = listener.local_addr().map_err(|e| e.to_string())?;
    log::info!(
        "streams at rtsp://{}/NAME, the page at http://{page}/",
        std::net::SocketAddr::new(rtsp_ip, fleet.server.port())
    );
    let server = tokio::spawn(http::serve(
        listener,
        http::router(site.clone()),
        http::Limits::default(),
    ));
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    // Half of what systemd allows, where it watches (WatchdogSec).
    let watched = sd_notify::watchdog_enabled();
    let mut watchdog = tokio::time::interval(watched.unwrap_or(NEVER).max(SOON) / 2);
    watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = watchdog.tick(), if watched.is_some() => match site.health().await {
                Ok(()) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
                Err(error) => log::error!("{error}"),
            },
            _ = hangup.recv() => reload(args, &site).await?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    log::info!("stopping");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    server.abort();
    blocking(move || fleet.stop()).await
}

/// Reads the configuration anew. One that is wrong changes nothing.
async fn reload(args: &Args, site: &Arc<Site>) -> Result<(), String> {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    let (file, site) = (args.config.clone(), site.clone());
    blocking(move || match Config::read(&file) {
        Ok(config) => {
            site.set_rules(config.http.clone());
            let changes = site.fleet.reload(config);
            log::info!(
                "reloaded: added {:?}, removed {:?}, called anew {:?}, set {:?}",
                changes.added,
                changes.removed,
                changes.restarted,
                changes.retuned
            );
            if !changes.not_now.is_empty() {
                log::warn!("{} takes effect at the next start", changes.not_now.join(", "));
            }
        }
        Err(error) => log::error!("not reloaded, everything goes on as before: {error}"),
    })
    .await?;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    Ok(())
}

/// Runs what waits on a thread where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| format!("unforeseen: {e}"))
}
