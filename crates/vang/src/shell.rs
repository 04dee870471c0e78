//! What a shell gives and takes: variables, and words for command lines to copy.

use std::path::Path;

/// A word, in quotes if a shell would change it.
pub(crate) fn quoted(word: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%#".contains(&byte);
    // Behind its first character a # begins no comment.
    if !word.is_empty() && !word.starts_with('#') && word.bytes().all(is_safe) {
        return word.to_owned();
    }
    // Only a zero byte cannot be quoted, and no argument has one.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// The variable with a token of a script.
pub(crate) const TOKEN_VARIABLE: &str = "VANG_TOKEN";

/// A variable of the environment; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A path, in quotes if a shell would change it.
pub(crate) fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A command line.
pub(crate) fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_a_shell_would_change_are_quoted() {
        for plain in ["general#4", "idle=5m", "./chat", "127.0.0.1:65432", "--data"] {
            assert_eq!(quoted(plain), plain);
        }
        for other in ["", "#general", "hello world", "it's", "[::1]:7", "$HOME", "a;b", "chào"] {
            let typed = quoted(other);
            assert_ne!(typed, other);
            assert_eq!(shlex::split(&typed), Some(vec![other.to_owned()]));
        }
    }
}
