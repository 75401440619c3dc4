//! Failpoints for tests. A build without the feature `failpoints` has none.
//!
//! A test sets the environment variable `FAILPOINTS`, in the syntax of the crate `fail`:
//! `worker.encode=1*panic;host.threads=return`. The part before the dot is the side
//! that must reach the point.

use crate::error::Result;

/// A point where a test can inject an error (`return`) or a panic.
#[cfg(feature = "failpoints")]
pub fn point(name: &str) -> Result<()> {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // Dropping the scenario would disable the points.
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    let is_worker = std::thread::current().name().is_some_and(|name| name.starts_with("gma2worker"));
    let name = format!("{}.{name}", if is_worker { "worker" } else { "host" });
    fail::fail_point!(&name, |_| Err(crate::error::Error::Internal(format!("fault at {name}"))));
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
pub fn point(_: &str) -> Result<()> {
    Ok(())
}
