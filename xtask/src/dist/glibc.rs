//! The oldest glibc with which a program runs, from the versions of symbols that it asks for.

use anyhow::{Context, Result};

/// Reads the output of `readelf --version-info --wide`; gives `2.34`.
pub(crate) fn needed(readelf: &str) -> Result<String> {
    let versions = readelf.split("Name: GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split_whitespace().next()?;
        let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
        Some((numbers?, version))
    });
    let newest = versions.max().context("the program asks for no version of glibc")?;
    Ok(newest.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let readelf = "Version needs section '.gnu.version_r' contains 2 entries:\n \
             000000: Version: 1  File: libm.so.6  Cnt: 2\n  \
             0x0010:   Name: GLIBC_2.9  Flags: none  Version: 13\n  \
             0x0020:   Name: GLIBC_2.34  Flags: none  Version: 10\n  \
             0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 5\n  \
             0x0040:   Name: GCC_4.2.0  Flags: none  Version: 3\n";
        assert_eq!(needed(readelf).unwrap(), "2.34");
        assert!(needed("No version information found in this file.").is_err());
    }
}
