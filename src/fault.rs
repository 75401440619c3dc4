//! Faults on purpose, for tests: nothing in a build without the feature `failpoints`.
//!
//! A test names points and what happens there in the environment variable `FAILPOINTS`, in the words of
//! the crate `fail`: `worker.encode=1*panic;host.threads=return`. The first word of a name is the side on
//! which the point was reached.

use crate::error::Result;

/// A point that a test may make fail (`return`) or panic.
#[cfg(feature = "failpoints")]
pub fn point(name: &str) -> Result<()> {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // The scenario stays set up until the process ends.
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
