//! The commands that ask a running agent: where it is, and what follows when it does not answer.

use std::path::PathBuf;

use super::ConfigArgs;
use crate::{
    control::AskError,
    exit::{Exit, Failure},
};

/// Which agent a command asks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Control socket of the agent [default: agent.socket of the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl AgentArgs {
    /// Its control socket. Reads the configuration only when none is named.
    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(self.config.load()?.0.agent.socket),
        }
    }
}

/// The exit code for each way of not being answered.
pub(super) fn failure(error: AskError) -> Failure {
    let exit = match error {
        AskError::NoAgent { .. } => Exit::NoAgent,
        AskError::Refused(_) => Exit::NotPermitted,
        AskError::Garbled(_) => Exit::Failure,
    };
    Failure::new(exit, error)
}
