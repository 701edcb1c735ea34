//! redis-cluster-proxy: a Redis/Valkey Cluster behind one ordinary Redis port.

pub mod arena;
pub mod buffer;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod logging;
pub mod options;
pub mod resp;

/// Serves until told to stop.
pub fn run(config: config::Config, log: logging::LogHandle) -> std::io::Result<()> {
    log::info!(
        "would serve at {}, log level {}",
        config.listen,
        logging::level_name(log.level())
    );
    Ok(())
}
