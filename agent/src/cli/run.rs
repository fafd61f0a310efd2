//! `homeport run`

use std::{io::IsTerminal as _, path::PathBuf};

use super::ConfigArgs;
use crate::{
    app,
    exit::{Exit, Failure},
    geo::embedded,
    record::person::Style,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write records to this file instead of `records.file`
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print alerts for a person to standard output, instead of records as JSON [default: on a terminal]
    #[arg(long)]
    human: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    super::log::start();
    let (mut config, path) = args.config.load()?;
    if let Some(file) = args.records {
        config.records.file = Some(std::path::absolute(file)?);
        config.records.stdout = false;
    }
    let terminal = std::io::stdout().is_terminal();
    let human = args.human || terminal;
    if human {
        // Somebody reads along: JSON goes to a file, and alerts are told in words.
        config.records.stdout = false;
        if config.records.file.is_none() {
            let directory = &config.agent.state_dir;
            std::fs::create_dir_all(directory).map_err(|error| {
                let error = anyhow::anyhow!("creating the state directory {}: {error}", directory.display());
                Failure::new(if rights_missing() { Exit::NotPermitted } else { Exit::Unusable }, error)
            })?;
            config.records.file = Some(directory.join("records.jsonl"));
        }
    }
    match &path {
        Some(path) => tracing::info!(file = %path.display(), "configuration loaded"),
        None => tracing::info!(
            policy = "us-only",
            database = embedded::NAME,
            "no configuration file: watching this host with the built-in policy and database; \
             `homeport check --defaults` prints a file to start from"
        ),
    }
    match (&config.records.file, config.records.stdout) {
        (Some(file), _) => tracing::info!(file = %file.display(), "records"),
        (None, true) => tracing::info!("records go to standard output"),
        (None, false) => {}
    }
    let style = if terminal { Style::Ansi } else { Style::Plain };
    let options = app::Options { config_path: path, person: human.then_some(style) };
    // One thread for the loop: everything that blocks has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(app::run(config, options))?;
    Ok(Exit::Success)
}

fn rights_missing() -> bool {
    !rustix::process::geteuid().is_root()
}
