//! `homeport ledger key`

use std::path::PathBuf;

use super::{head, open, own_key};
use crate::exit::{Exit, Failure};

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
        println!("{key}");
        return Ok(Exit::Success);
    }
    let head = head(&reader, &[])?;
    println!("origin   {}", head.origin);
    println!("key      {key}");
    println!("entries  {}", head.size);
    println!("root     {}", head.root);
    println!(
        "\nGive origin and key to whoever shall verify this ledger, by a way that does not pass this host."
    );
    Ok(Exit::Success)
}
