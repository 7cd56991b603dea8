//! The web page, the endpoints behind it, and what watches the service.

mod answer;
mod guard;
mod metrics;
mod page;
mod routes;
mod serve;
mod site;

pub use routes::router;
pub use serve::{Limits, serve};
pub use site::Site;
