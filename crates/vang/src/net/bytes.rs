//! vang net bytes: numbers and texts as bytes, and bytes as numbers and texts.

use clap::Args as ClapArgs;
use vang_nettools::bytes::{self, Asked, BytesOptions};

use super::common::{Common, with};

const EXAMPLES: &str = "\
Examples:
  vang net bytes 512                       a number in both byte orders, as htons and struct write it
  vang net bytes -2                        a negative number; 0xff, 0b101 and 0o17 are numbers, too
  vang net bytes 'xin chào 🐶'             a text in the usual encodings, with byte order marks
  vang net bytes --text 512                a text that looks like a number
  vang net bytes 犬 --encoding shift_jis   in this encoding; `all` shows every one
  vang net bytes --hex '02 00 7b 7d'       bytes as numbers in both orders, and as text
  head -c 16 FILE | vang net bytes -       the same for bytes from a pipe";

/// Show a number or a text as bytes in every byte order and encoding, or take bytes apart
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A number or a text; - takes bytes from stdin
    #[arg(value_name = "VALUE", allow_hyphen_values = true, required_unless_present_any = ["text", "hex"])]
    value: Option<String>,
    /// A text, also if it is a number
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["value", "hex"], allow_hyphen_values = true)]
    text: Option<String>,
    /// Bytes, as 02 00 or 0200; text in quotes, as in 0002 \"{}\"
    #[arg(long, value_name = "BYTES", conflicts_with = "value")]
    hex: Option<String>,
    /// Only this encoding, by Python's name, or `all` (can be repeated)
    #[arg(long, value_name = "NAME")]
    encoding: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let what = match (args.value, args.text, args.hex) {
        (_, Some(text), _) => Asked::Text(text),
        (_, _, Some(hex)) => Asked::Hex(hex),
        (Some(value), ..) if value == "-" => Asked::Stdin,
        (value, ..) => Asked::Value(value.unwrap_or_default()),
    };
    let options = BytesOptions { what, encodings: args.encoding };
    with(&args.common, |report, stop| bytes::run(&options, report, stop))
}
