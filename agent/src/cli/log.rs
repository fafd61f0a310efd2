//! Where log lines go: the journal when it listens, standard error otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Sets up logging. `HOMEPORT_LOG` chooses levels in the words of tracing's filters (`debug`, `homeport::app=trace`).
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("HOMEPORT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets this when standard error is the journal; structured fields need its own protocol.
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).init();
        return;
    }
    let colour = std::io::stderr().is_terminal();
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    registry.with(layer).init();
}
