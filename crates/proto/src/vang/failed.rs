//! Failed sign-ins, as the owner of the account is told.

/// A sentence without its end. `last` is when the newest was, as the reader sees times; `from` its address.
pub fn failed_in_words(count: u64, last: Option<&str>, from: Option<&str>) -> String {
    let (what, which) = match count {
        1 => ("1 sign-in".to_owned(), "it was"),
        count => (format!("{count} sign-ins"), "the last was"),
    };
    let mut words = format!("{what} with a wrong password since the last with the right one");
    if last.is_some() || from.is_some() {
        words += &format!("; {which}");
        words += &last.map(|last| format!(" at {last}")).unwrap_or_default();
        words += &from.map(|from| format!(" from {from}")).unwrap_or_default();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_reads_how_many_when_and_from_where() {
        let all = "3 sign-ins with a wrong password since the last with the right one; the last was at 10:30 from 203.0.113.9";
        assert_eq!(failed_in_words(3, Some("10:30"), Some("203.0.113.9")), all);
        let one = "1 sign-in with a wrong password since the last with the right one; it was at 10:30";
        assert_eq!(failed_in_words(1, Some("10:30"), None), one);
        let none = "1 sign-in with a wrong password since the last with the right one";
        assert_eq!(failed_in_words(1, None, None), none);
    }
}
