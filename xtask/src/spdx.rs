//! Licence expressions, as SPDX writes them and as crates wrote them before.
//!
//! ```text
//! either   = both { ("OR" | "/") both }           `MIT/Apache-2.0` is the old way to say OR
//! both     = one { "AND" one }                    AND binds tighter than OR
//! one      = "(" either ")" | id [ "WITH" id ]
//! ```
//!
//! `Apache-2.0 WITH LLVM-exception` is a licence of its own: allowing `Apache-2.0` does not allow it.

use std::fmt;

/// A licence expression.
#[derive(Debug, PartialEq)]
pub(crate) enum Expression {
    /// One licence, with its exception if it has one.
    Licence(String),
    /// All of these bind.
    All(Vec<Expression>),
    /// One of these may be chosen.
    Any(Vec<Expression>),
}

/// The text is not a licence expression.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    found: String,
    expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {} where {} was expected", self.found, self.expected)
    }
}

impl std::error::Error for Malformed {}

impl Expression {
    /// Reads an expression; all of the text must be one.
    pub(crate) fn parse(text: &str) -> Result<Expression, Malformed> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " / ");
        let mut words = Words { left: spaced.split_whitespace().collect() };
        let expression = words.either()?;
        match words.left.first() {
            Some(_) => Err(words.malformed("AND, OR or the end")),
            None => Ok(expression),
        }
    }

    /// Whether the licences on this list are enough.
    pub(crate) fn is_met_by(&self, allowed: &[String]) -> bool {
        match self {
            Expression::Licence(id) => allowed.contains(id),
            Expression::All(parts) => parts.iter().all(|part| part.is_met_by(allowed)),
            Expression::Any(parts) => parts.iter().any(|part| part.is_met_by(allowed)),
        }
    }
}

struct Words<'a> {
    left: Vec<&'a str>,
}

impl Words<'_> {
    fn either(&mut self) -> Result<Expression, Malformed> {
        let mut parts = vec![self.both()?];
        while self.take("OR") || self.take("/") {
            parts.push(self.both()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn both(&mut self) -> Result<Expression, Malformed> {
        let mut parts = vec![self.one()?];
        while self.take("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression, Malformed> {
        if self.take("(") {
            let inner = self.either()?;
            return if self.take(")") { Ok(inner) } else { Err(self.malformed("`)`")) };
        }
        let mut licence = self.id("a licence")?;
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.id("an exception")?);
        }
        Ok(Expression::Licence(licence))
    }

    fn id(&mut self, expected: &'static str) -> Result<String, Malformed> {
        let is_id = |word: &&str| {
            !["AND", "OR", "WITH"].contains(word)
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "-.+:".contains(c))
        };
        match self.left.first().filter(|word| is_id(word)) {
            Some(_) => Ok(self.left.remove(0).to_owned()),
            None => Err(self.malformed(expected)),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.left.first() == Some(&word);
        if is_next {
            self.left.remove(0);
        }
        is_next
    }

    fn malformed(&self, expected: &'static str) -> Malformed {
        let found = self.left.first().map_or("the end".to_owned(), |word| format!("`{word}`"));
        Malformed { found, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(text: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|&id| id.to_owned()).collect();
        Expression::parse(text).expect("well-formed").is_met_by(&allowed)
    }

    #[test]
    fn or_needs_one_and_needs_all() {
        assert!(met("MIT OR GPL-3.0-only", &["MIT"]));
        assert!(!met("MIT AND GPL-3.0-only", &["MIT"]));
        assert!(met("MIT AND Zlib", &["MIT", "Zlib"]));
        assert!(!met("GPL-3.0-only", &["MIT"]));
    }

    #[test]
    fn and_binds_tighter_than_or_unless_in_parentheses() {
        assert!(met("MIT OR GPL-3.0-only AND Zlib", &["MIT"]));
        assert!(!met("(MIT OR GPL-3.0-only) AND Zlib", &["MIT"]));
        assert!(met("(MIT OR Apache-2.0) AND Unicode-3.0", &["Apache-2.0", "Unicode-3.0"]));
        assert!(met("((MIT))AND(Zlib OR(ISC))", &["MIT", "ISC"]));
    }

    #[test]
    fn a_slash_is_the_old_or() {
        assert!(met("MIT/Apache-2.0", &["Apache-2.0"]));
        assert!(met("Unlicense / MIT", &["MIT"]));
        assert!(!met("GPL-2.0/GPL-3.0", &["MIT"]));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        let text = "Apache-2.0 WITH LLVM-exception";
        assert!(!met(text, &["Apache-2.0"]));
        assert!(met(text, &[text]));
        assert!(met("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", &["MIT"]));
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_place() {
        for (text, found) in [
            ("", "found the end where a licence was expected"),
            ("MIT OR", "found the end where a licence was expected"),
            ("OR MIT", "found `OR` where a licence was expected"),
            ("MIT Zlib", "found `Zlib` where AND, OR or the end was expected"),
            ("(MIT", "found the end where `)` was expected"),
            ("MIT)", "found `)` where AND, OR or the end was expected"),
            ("Apache-2.0 WITH", "found the end where an exception was expected"),
            ("MIT, Zlib", "found `MIT,` where a licence was expected"),
        ] {
            let malformed = Expression::parse(text).expect_err(text);
            assert_eq!(malformed.to_string(), found, "{text:?}");
        }
    }
}
