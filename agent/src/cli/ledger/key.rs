//! `homeport ledger key`

use std::path::PathBuf;

use super::{head, open, own_key};
use crate::{
    cli::out,
    exit::{Exit, Failure},
    record::harmless,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the ledger
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print the key only
    #[arg(long)]
    bare: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let reader = open(&args.directory)?;
    let key = own_key(&reader)?;
    if args.bare {
        out::line(&key.to_string())?;
        return Ok(Exit::Success);
    }
    let head = head(&reader, &[])?;
    out::print(&format!(
        "origin   {}\nkey      {key}\nentries  {}\nroot     {}\n\n\
         Give origin and key to whoever shall verify this ledger, by a way that does not pass this host.\n",
        harmless(&head.origin),
        head.size,
        head.root
    ))?;
    Ok(Exit::Success)
}
