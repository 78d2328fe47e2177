//! The documents as far as they matter to tests: their fenced blocks, each with the comment directly before it.

use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::error::{Context as _, Result};
use crate::tools;

/// A Markdown file.
#[derive(Debug)]
pub struct Page {
    /// Its path from the top of the repository.
    pub name: String,
    /// Its fenced blocks.
    pub blocks: Vec<Block>,
    /// What stands between backticks, with its line.
    pub spans: Vec<(usize, String)>,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// Where it begins.
    pub line: usize,
    /// The first word behind its fence.
    pub language: String,
    /// What is in it.
    pub text: String,
    /// What the comment before it says.
    pub mark: Mark,
}

/// What the comment before a block says about running it.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    /// There is none: it goes on from the blocks before it.
    Run,
    /// It begins in a new cluster.
    RunAfresh,
    /// It is not run, and why.
    NotHere(String),
    /// A test runs the same.
    RunBy(String),
    /// It stands in these files.
    AsIn(String),
    /// Values of the chart.
    Values,
    /// A comment that means nothing.
    Unclear(String),
}

impl Block {
    /// Whether it is run as it stands, or shown to the API server.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        matches!(self.mark, Mark::Run | Mark::RunAfresh)
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self, page: &Page) -> String {
        format!("{}:{}", page.name, self.line)
    }
}

impl Page {
    /// One document, by its path from the top of the repository.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(tools::workspace().join(name)).context(name)?;
        Ok(Self { name: name.to_owned(), blocks: blocks(&text), spans: spans(&text) })
    }

    /// All documents of the repository, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let mut names = Vec::new();
        let top = tools::workspace();
        search(&top, &top, &mut names)?;
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// The commands that a test of this name is to type, block by block.
    #[must_use]
    pub fn commands(&self, test: &str) -> Vec<String> {
        let by = Mark::RunBy(test.to_owned());
        let found = self.blocks.iter().filter(|block| block.language == "console" && block.mark == by);
        found.map(|block| block.text.trim_end().replace("\n$ ", "\n").trim_start_matches("$ ").to_owned()).collect()
    }
}

fn search(top: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                search(top, &path, names)?;
            }
        } else if name.ends_with(".md") {
            names.push(path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn spans(text: &str) -> Vec<(usize, String)> {
    // Tables are an extension, and what stands in their cells is text otherwise, spans included.
    let events = Parser::new(text).into_offset_iter();
    let span = |(event, range): (Event, std::ops::Range<usize>)| match event {
        Event::Code(code) => Some((line(text, range.start), code.to_string())),
        _ => None,
    };
    events.filter_map(span).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // The last comment, as long as nothing came after it.
    let mut comment = String::new();
    let mut inside = false;
    for (event, range) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => info.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let language = info.split_whitespace().next().unwrap_or_default().to_owned();
                let line = line(text, range.start);
                blocks.push(Block { line, language, text: String::new(), mark: mark(&std::mem::take(&mut comment)) });
                inside = true;
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(part) if inside => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(&part);
                }
            }
            Event::Html(part) => comment.push_str(&part),
            Event::End(TagEnd::HtmlBlock) => {}
            _ => comment.clear(),
        }
    }
    blocks
}

fn mark(comment: &str) -> Mark {
    let comment = comment.trim();
    let Some(inner) = comment.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else {
        return if comment.is_empty() { Mark::Run } else { Mark::Unclear(comment.to_owned()) };
    };
    match inner.trim().split_once(':').map(|(key, value)| (key.trim(), value.trim().to_owned())) {
        Some(("not run here", why)) => Mark::NotHere(why),
        Some(("run by", test)) => Mark::RunBy(test),
        Some(("as in", files)) => Mark::AsIn(files),
        None if inner.trim() == "values of the chart" => Mark::Values,
        None if inner.trim() == "in a new cluster" => Mark::RunAfresh,
        _ => Mark::Unclear(comment.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_marks_the_block_directly_after_it_and_no_other() {
        let text = "<!-- not run here: there is no node -->\n```console\n$ a\n```\n\n```sh\nb\n```\n\n<!-- run by: x -->\ntext\n\n\
                    ```bash\nc\n```\n\n- item\n\n  <!-- values of the chart -->\n  ```yaml\n  d: 1\n  ```\n\n<!-- what -->\n```yaml\n```\n";
        let found = blocks(text);
        let marks: Vec<_> = found.iter().map(|block| (block.line, block.language.as_str(), &block.mark)).collect();
        let expected = [
            (2, "console", &Mark::NotHere("there is no node".to_owned())),
            (6, "sh", &Mark::Run),
            (13, "bash", &Mark::Run),
            (20, "yaml", &Mark::Values),
            (25, "yaml", &Mark::Unclear("<!-- what -->".to_owned())),
        ];
        assert_eq!(marks, expected);
        assert_eq!(found.get(3).map(|block| block.text.as_str()), Some("d: 1\n"));
    }

    #[test]
    fn the_commands_of_a_test_are_those_of_the_blocks_that_name_it() {
        let text = "<!-- run by: x -->\n```console\n$ a \\\n  b\n$ c\n```\n\n<!-- run by: x -->\n```yaml\nd: 1\n```\n\n```console\n$ e\n```\n";
        let page = Page { name: String::new(), blocks: blocks(text), spans: Vec::new() };
        assert_eq!(page.commands("x"), ["a \\\n  b\nc"]);
    }
}
