//! A part of what the demo showed, drawn as a terminal: `harness demo --picture FILE.svg`.

use std::fmt::Write as _;

use super::stage::{BOLD, CYAN, DIM, GREEN, RED, YELLOW};

/// Longer lines end in `…`.
const COLUMNS: usize = 112;
const LINE: usize = 17;
const MARGIN: usize = 18;
const WIDTH: usize = 880;

/// Draws the lines from the one that has `from` in it up to the one that has `to` in it.
pub(super) fn draw(shown: &str, from: &str, to: &str) -> String {
    let lines: Vec<_> = shown.lines().skip_while(|line| !line.contains(from)).collect();
    let mut lines: Vec<_> = lines.into_iter().take_while(|line| !line.contains(to)).collect();
    lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    let height = lines.len() * LINE + 2 * MARGIN;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">
<rect width="100%" height="100%" rx="8" fill="#14181f"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="12.5" fill="#d7dce2" xml:space="preserve">
"##
    );
    for (number, line) in lines.iter().enumerate() {
        let y = MARGIN + (number + 1) * LINE - 5;
        // Infallible: a String takes everything.
        let _ = writeln!(svg, r#"<text x="{MARGIN}" y="{y}">{}</text>"#, spans(line));
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// A line with the styles of a terminal, in those of SVG.
fn spans(line: &str) -> String {
    let (mut text, mut left) = (String::new(), COLUMNS);
    for (number, part) in line.split("\x1b[").enumerate() {
        let (code, words) = if number == 0 { ("", part) } else { part.split_once('m').unwrap_or_default() };
        let mut cut: String = words.chars().take(left).collect();
        left -= cut.chars().count();
        if cut.len() < words.len() {
            cut.push('…');
        }
        let escaped = cut.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let style = style(code);
        if escaped.is_empty() || style.is_empty() {
            text.push_str(&escaped);
        } else {
            let _ = write!(text, "<tspan {style}>{escaped}</tspan>");
        }
        if left == 0 {
            break;
        }
    }
    text
}

fn style(code: &str) -> &'static str {
    let is = |style: &str| style.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m')) == Some(code);
    let styles = [
        (BOLD, r##"font-weight="bold" fill="#ffffff""##),
        (DIM, r##"fill="#8a94a3""##),
        (GREEN, r##"fill="#7fd88f""##),
        (CYAN, r##"fill="#7cc7e8""##),
        (YELLOW, r##"fill="#e8cf7c""##),
        (RED, r##"fill="#f28b82""##),
    ];
    styles.into_iter().find(|(name, _)| is(name)).map_or("", |(_, style)| style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_is_drawn_in_its_colours_and_nothing_else() {
        let svg = draw("before\n\x1b[1m5. Apply\x1b[0m a <b>\nplain\n7. after\n", "5. ", "7. ");
        assert!(
            svg.contains(r##"<tspan font-weight="bold" fill="#ffffff">5. Apply</tspan> a &lt;b&gt;</text>"##),
            "{svg}"
        );
        assert!(svg.contains(">plain<") && !svg.contains("before") && !svg.contains("after"), "{svg}");
        assert!(spans(&"x".repeat(200)).ends_with("x…"));
    }
}
