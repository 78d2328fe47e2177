//! A document as far as it matters here: its fenced blocks, each with the comment directly before it.

use std::path::Path;

use harness::tools;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A Markdown file.
pub(super) struct Page {
    /// Its path from the top of the repository.
    pub(super) name: String,
    pub(super) blocks: Vec<Block>,
    /// What stands between backticks, with its line.
    pub(super) spans: Vec<(usize, String)>,
}

/// A fenced block.
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) language: String,
    pub(super) text: String,
    pub(super) mark: Mark,
}

/// What the comment before a block says about running it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Run,
    RunAfresh,
    NotHere(String),
    RunBy(String),
    AsIn(String),
    Values,
    Unclear(String),
}

impl Block {
    /// Whether it is run here, or shown to the API server.
    pub(super) fn is_tried(&self) -> bool {
        matches!(self.mark, Mark::Run | Mark::RunAfresh)
    }

    pub(super) fn place(&self, page: &Page) -> String {
        format!("{}:{}", page.name, self.line)
    }
}

/// All documents of the repository, in the order of their names.
pub(super) fn all() -> Vec<Page> {
    let top = tools::workspace();
    let mut pages = Vec::new();
    search(&top, &top, &mut pages);
    assert!(pages.iter().any(|page| page.name == "README.md") && pages.len() > 5);
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    pages
}

fn search(top: &Path, folder: &Path, pages: &mut Vec<Page>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                search(top, &path, pages);
            }
        } else if name.ends_with(".md") {
            let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            pages.push(Page { name, blocks: blocks(&text), spans: spans(&text) });
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
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
            Event::Text(part) if inside => blocks.last_mut().unwrap().text.push_str(&part),
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
    assert_eq!(found[3].text, "d: 1\n");
}
