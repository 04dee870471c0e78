//! vang net decode: the conversations and messages in a capture.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use vang_nettools::decode::{self, Asked};

use super::Common;

const EXAMPLES: &str = "\
Examples:
  vang net decode talk.pcapng                      every conversation and message in it
  vang net decode talk.pcapng --conversations      who opened, bytes each way, who closed, how long
  tcpdump -i lo -U -w - tcp | vang net decode -    as it happens
  vang net decode request.bin                      the bytes of one direction";

/// Show the TCP conversations in a pcap or pcapng file, and the messages in them; broken ones are explained at the byte
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A capture, or the raw bytes of one direction of a stream; - is stdin
    file: PathBuf,
    /// Only the conversations, and what is broken
    #[arg(long)]
    conversations: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let file = Some(args.file).filter(|file| file.as_os_str() != "-");
    let asked = Asked { file, only_conversations: args.conversations };
    super::with(&args.common, |report, stop| decode::run(&asked, report, stop))
}
