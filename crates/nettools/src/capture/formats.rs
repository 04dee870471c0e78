//! Files that are neither pcap nor pcapng: compressed files, archives, captures of other programs. They are detected by
//! their first bytes, and named with the command that converts them, instead of being decoded as messages.

use std::ops::RangeInclusive;

/// A file format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    at: usize,
    begins: &'static [u8],
    /// The byte after the magic number, if any.
    next: RangeInclusive<u8>,
    pub what: &'static str,
    /// A command that writes a capture to stdout.
    pub command: &'static str,
}

const fn of(begins: &'static [u8], what: &'static str, command: &'static str) -> Format {
    Format { at: 0, begins, next: 0..=0xff, what, command }
}

/// Bytes needed to detect every format.
pub const BYTES_MAX: usize = 512;

const EDITCAP: &str = "editcap -F pcap FILE -";

const FORMATS: [Format; 26] = [
    of(&[0x1f, 0x8b], "compressed (gzip)", "gunzip -c FILE"),
    of(&[0x28, 0xb5, 0x2f, 0xfd], "compressed (Zstandard)", "zstdcat FILE"),
    of(&[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed (xz)", "xzcat FILE"),
    of(&[0x5d, 0, 0], "compressed (LZMA)", "xzcat --format=lzma FILE"),
    Format { next: b'1'..=b'9', ..of(b"BZh", "compressed (bzip2)", "bzcat FILE") },
    of(&[0x04, 0x22, 0x4d, 0x18], "compressed (LZ4)", "lz4cat FILE"),
    of(&[0x02, 0x21, 0x4c, 0x18], "compressed (LZ4)", "lz4cat FILE"),
    of(b"LZIP\x01", "compressed (lzip)", "lzip -dc FILE"),
    of(&[0x89, b'L', b'Z', b'O', 0], "compressed (lzop)", "lzop -dc FILE"),
    of(&[0x1f, 0x9d], "compressed (compress)", "zcat FILE"),
    of(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so FILE"),
    of(b"PK\x03\x04", "a ZIP archive", "unzip -p FILE"),
    of(b"Rar!\x1a\x07", "a RAR archive", "unrar p -inul FILE"),
    Format { at: 257, ..of(b"ustar", "a tar archive", "tar -xOf FILE") },
    of(b"snoop\0", "a capture of snoop", EDITCAP),
    of(b"GMBU", "a capture of Network Monitor", EDITCAP),
    of(b"RTSS", "a capture of Network Monitor 1", EDITCAP),
    of(b"TRSNIFF data    \x1a", "a capture of Sniffer", EDITCAP),
    of(b"XCP\0", "a capture of NetXRay", EDITCAP),
    of(b"iptrace 1.0", "a capture of iptrace", EDITCAP),
    of(b"iptrace 2.0", "a capture of iptrace", EDITCAP),
    of(&[0x1c, 0x00, 0x01, 0xac], "a capture of Ixia's", EDITCAP),
    of(&[0xac, 0x01, 0x00, 0x1c], "a capture of Ixia's", EDITCAP),
    of(&[0x1c, 0x00, 0x01, 0xab], "a capture of Ixia's", EDITCAP),
    of(&[0xab, 0x01, 0x00, 0x1c], "a capture of Ixia's", EDITCAP),
    of(&[0xa1, 0xb2, 0xcd, 0x34], "a pcap file of an old, modified kind", EDITCAP),
];

/// Detects the format by a file's first bytes.
pub fn detect(begun: &[u8]) -> Option<Format> {
    let matches = |format: &Format| {
        let rest = begun.get(format.at..).and_then(|from| from.strip_prefix(format.begins));
        rest.is_some_and(|rest| rest.first().is_none_or(|next| format.next.contains(next)))
    };
    FORMATS.into_iter().find(matches)
}

/// Can more bytes complete one of these formats?
pub fn may_become(begun: &[u8]) -> bool {
    let is_front = |format: &Format| {
        format.at == 0 && begun.len() < format.begins.len() && format.begins.starts_with(begun)
    };
    FORMATS.iter().any(is_front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_detected_by_its_whole_magic_number() {
        for format in FORMATS {
            let mut file = vec![0x20; format.at];
            file.extend(format.begins);
            assert_eq!(detect(&file), Some(format.clone()));
            assert_eq!(detect(&file[..file.len() - 1]), None, "{format:?}");
            if format.at == 0 {
                assert!(may_become(&file[..file.len() - 1]) && !may_become(&[&file[..], b"x"].concat()));
            }
        }
        for text in [&b"BZhang\n"[..], b"RTS\n", b"PK\n", b"snoop\n", b"iptrace 3", b"]\n", b""] {
            assert_eq!(detect(text), None);
        }
    }
}
