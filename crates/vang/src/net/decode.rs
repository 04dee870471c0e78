//! vang net decode: shows the conversations and messages in a capture.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use vang_nettools::decode::{self, DecodeOptions};

use super::common::{Common, with};

const EXAMPLES: &str = "\
Examples:
  vang net decode talk.pcapng                      every conversation and message
  vang net decode talk.pcapng --conversations      only sides, bytes, ending and duration
  tcpdump -i lo -U -w - tcp | vang net decode -    live
  vang net decode request.bin                      the bytes of one direction";

/// Show the TCP conversations and messages in a pcap or pcapng file; broken messages are explained at the byte
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A capture, or the raw bytes of one direction of a stream; - reads stdin
    file: PathBuf,
    /// Only the conversations and broken messages
    #[arg(long)]
    conversations: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let file = Some(args.file).filter(|file| file.as_os_str() != "-");
    let options = DecodeOptions { file, only_conversations: args.conversations };
    with(&args.common, |report, stop| decode::run(&options, report, stop))
}
