//! Starts every long task and knows everyone.

use std::path::PathBuf;

use crate::config::Config;
use crate::error::Failure;

/// Runs the hub until it is told to end. `path` is where SIGHUP finds the configuration again.
pub fn run(path: PathBuf, config: Config) -> Result<(), Failure> {
    log::info!(
        "configuration={} servers={}",
        path.display(),
        config.servers.len()
    );
    Ok(())
}
