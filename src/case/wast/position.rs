//! Where in a script something is, as people count.

use super::InputError;

/// A script's text, and where its lines start.
pub(super) struct Source<'t> {
    /// The text.
    pub text: &'t str,
    name: &'t str,
    /// The offset of every line's first byte.
    starts: Vec<usize>,
}

impl<'t> Source<'t> {
    /// The lines of `text`, which is the contents of the file `name`.
    pub(super) fn new(text: &'t str, name: &'t str) -> Source<'t> {
        let mut starts = vec![0];
        starts.extend(
            text.bytes()
                .enumerate()
                .filter_map(|(offset, byte)| (byte == b'\n').then_some(offset + 1)),
        );
        Source { text, name, starts }
    }

    /// The line that holds the byte at this offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> u32 {
        self.starts.partition_point(|start| *start <= offset) as u32
    }

    /// An error about what is at this offset.
    pub(super) fn error(&self, offset: usize, message: impl std::fmt::Display) -> InputError {
        let line = self.line(offset);
        let column = offset - self.starts[line as usize - 1] + 1;
        self.error_at(line, column, message)
    }

    /// An error about what is at this line and column, both counted from 1.
    pub(super) fn error_at(
        &self,
        line: u32,
        column: usize,
        message: impl std::fmt::Display,
    ) -> InputError {
        one_line(format_args!("{}:{line}:{column}: {message}", self.name))
    }

    /// An error that the parser of scripts found.
    pub(super) fn parse_error(&self, error: &wast::Error) -> InputError {
        self.error(error.span().offset(), error.message())
    }
}

/// A malformed input, told in one line.
pub(super) fn one_line(message: impl std::fmt::Display) -> InputError {
    let message = message.to_string();
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    InputError::Malformed(lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let source = Source::new("ab\n\ncd", "x.wast");
        let at = |offset| source.error(offset, "no").to_string();
        assert_eq!(at(0), "x.wast:1:1: no");
        assert_eq!(at(2), "x.wast:1:3: no");
        assert_eq!(at(3), "x.wast:2:1: no");
        assert_eq!(at(5), "x.wast:3:2: no");
        // Past the end, as where a parenthesis is missing.
        assert_eq!(at(6), "x.wast:3:3: no");
    }

    #[test]
    fn messages_have_one_line() {
        assert_eq!(
            Source::new("", "x").error(0, "a\n  b").to_string(),
            "x:1:1: a b"
        );
    }
}
