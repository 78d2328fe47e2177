//! The credentials that tests make up, searched for wherever they must not be: every operator that anybody starts is
//! searched when it ends, every scenario when it is over.
//!
//! A credential need not leave a process as it is: it is looked for in short pieces, each of them raw, in base64,
//! percent-encoded, in hexadecimal digits, and as the list of numbers that Rust prints for bytes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;

use crate::error::{Context as _, Result};

/// So many bytes of a credential in a row are a leak; fewer may be chance.
pub const PIECE: usize = 8;

/// So many, when all of them are hexadecimal digits: an audit log has a UUID in each line, and a million of those have eight
/// digits in common with some credential now and then.
const DIGITS: usize = 16;

/// Shorter values of Secrets are placeholders of tests that are not about credentials.
const SHORTEST: usize = 16;

/// How a piece is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As it is.
    Raw,
    /// In base64, also the URL-safe one, wherever in the encoded text it begins.
    Base64,
    /// As in a URL: what must be escaped there, or every byte.
    Percent,
    /// Two hexadecimal digits a byte, of either case.
    Hex,
    /// Decimal numbers with separators, as `Debug` prints a `Vec<u8>`.
    Decimal,
}

/// A piece of a credential where there should be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// How it was written.
    pub form: Form,
    /// The byte at which it begins.
    pub at: usize,
    /// What stands there, with a little on either side.
    pub excerpt: String,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a piece of a credential ({:?}) at byte {}: {:?}", self.form, self.at, self.excerpt)
    }
}

/// Finds every form of some credentials in one pass.
#[derive(Debug)]
pub struct Canary {
    pieces: AhoCorasick,
    forms: Vec<Form>,
}

impl Canary {
    /// For these credentials.
    ///
    /// # Errors
    /// When they are more than one search can take.
    pub fn of<'a>(credentials: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let pieces: BTreeSet<(Vec<u8>, Form)> =
            credentials.into_iter().flat_map(|credential| pieces(credential.as_bytes())).flat_map(forms).collect();
        let (pieces, forms): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
        Ok(Self { pieces: AhoCorasick::new(pieces).context("the canary")?, forms })
    }

    /// The first piece of any of them.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<Sighting> {
        let found = self.pieces.find(text)?;
        let around = text.get(found.start().saturating_sub(40)..text.len().min(found.end() + 40))?;
        Some(Sighting {
            form: self.forms.get(found.pattern().as_usize()).copied().unwrap_or(Form::Raw),
            at: found.start(),
            excerpt: String::from_utf8_lossy(around).into_owned(),
        })
    }
}

/// The shortest pieces of a credential that cannot be chance.
fn pieces(credential: &[u8]) -> impl Iterator<Item = &[u8]> {
    let telling = |piece: &&[u8]| piece.len() == DIGITS || !piece.iter().all(u8::is_ascii_hexdigit);
    (0..credential.len()).filter_map(move |start| {
        let rest = credential.get(start..)?;
        (PIECE..=DIGITS).filter_map(|length| rest.get(..length)).find(telling)
    })
}

/// All ways to write one piece.
fn forms(piece: &[u8]) -> Vec<(Vec<u8>, Form)> {
    let mut forms = vec![(piece.to_vec(), Form::Raw)];
    for bits_before in [0, 2, 4] {
        for digits in [STANDARD, URL_SAFE] {
            forms.push((base64(piece, bits_before, digits), Form::Base64));
        }
    }
    let written = |byte: &dyn Fn(u8) -> String| piece.iter().map(|b| byte(*b)).collect::<String>().into_bytes();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    for all in [false, true] {
        let as_is = |b: u8| (!all && plain(b)).then(|| char::from(b).to_string());
        forms.push((written(&|b| as_is(b).unwrap_or_else(|| format!("%{b:02X}"))), Form::Percent));
        forms.push((written(&|b| as_is(b).unwrap_or_else(|| format!("%{b:02x}"))), Form::Percent));
    }
    forms.push((written(&|b| format!("{b:02x}")), Form::Hex));
    forms.push((written(&|b| format!("{b:02X}")), Form::Hex));
    let numbers: Vec<String> = piece.iter().map(ToString::to_string).collect();
    // Without the brackets around a list: a longer one has other numbers there.
    forms.extend([", ", ",", " "].map(|separator| (numbers.join(separator).into_bytes(), Form::Decimal)));
    // What needs no escape in a URL is raw already.
    forms.retain(|(text, form)| *form != Form::Percent || text != piece);
    forms
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The digits of a piece that are the same whatever stands around it, when its first byte begins after so many bits of a
/// digit: the first digit that it shares with what comes before is left out, and so is the last one.
fn base64(piece: &[u8], bits_before: u32, digits: &[u8; 64]) -> Vec<u8> {
    let mut bits: u32 = 0;
    let mut held = 0;
    let mut skip = (6 - bits_before) % 6;
    let mut text = Vec::new();
    for byte in piece {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        held -= std::mem::take(&mut skip);
        while held >= 6 {
            held -= 6;
            let digit = (bits >> held) & 63;
            text.extend(usize::try_from(digit).ok().and_then(|digit| digits.get(digit)));
        }
    }
    text
}

/// The credentials of this process's tests, and the search for them once it was made.
#[derive(Debug, Default)]
struct Known {
    credentials: BTreeSet<String>,
    search: Option<Arc<Canary>>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { credentials: BTreeSet::new(), search: None });

/// Notes a value of a Secret, to be searched for from now on. What cannot be a credential is left out: short values, texts
/// with blanks inside, and e-mail addresses, which may be in an object.
pub fn watch_for(value: &str) {
    let value = value.trim();
    if value.len() < SHORTEST || value.contains(|character: char| character.is_whitespace() || character == '@') {
        return;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.credentials.insert(value.to_owned()) {
        known.search = None;
    }
}

/// The search for everything that was noted so far.
///
/// # Errors
/// As [`Canary::of`].
pub fn known() -> Result<Arc<Canary>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(search) = &known.search {
        return Ok(Arc::clone(search));
    }
    let search = Arc::new(Canary::of(known.credentials.iter().map(String::as_str))?);
    known.search = Some(Arc::clone(&search));
    Ok(search)
}

/// What is wrong with a place: a credential that was noted, or that nobody could look. One line, or none.
#[must_use]
pub fn complaint(place: &str, text: Result<impl AsRef<[u8]>>) -> Option<String> {
    let sighting = text.and_then(|text| Ok(known()?.find(text.as_ref())));
    match sighting {
        Ok(sighting) => sighting.map(|sighting| format!("{place}: {sighting}")),
        Err(error) => Some(format!("{place} could not be searched: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "the credentials here are ASCII")]
mod tests {
    use super::*;

    const TOKEN: &str = "cfut_9Qw3Er7Ty2Ui6Op1As5Df8Gh4Jk0Zx";
    const KEY: &str = "p+s/w%d&1?2=3~4/5+6%7&8";

    fn found(text: impl AsRef<[u8]>) -> Option<Form> {
        let canary = Canary::of([TOKEN, KEY]).expect("two credentials are not too many");
        canary.find(text.as_ref()).map(|sighting| sighting.form)
    }

    /// Base64 as everybody else makes it: of a whole text, without padding.
    fn encoded(text: &str, digits: &[u8; 64]) -> String {
        let mut bits: String =
            text.bytes().flat_map(|byte| format!("{byte:08b}").into_bytes()).map(char::from).collect();
        bits.extend(std::iter::repeat_n('0', (6 - bits.len() % 6) % 6));
        let digit = |start: usize| usize::from_str_radix(&bits[start..start + 6], 2).expect("six bits");
        (0..bits.len()).step_by(6).map(|start| char::from(digits[digit(start)])).collect()
    }

    #[test]
    fn a_text_without_a_credential_is_clean() {
        let text = format!("{} {} {}", &TOKEN[..7], &TOKEN[20..27], encoded("something else", STANDARD));
        assert_eq!(found(text), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn eight_bytes_from_anywhere_are_found_and_shown() {
        for credential in [TOKEN, KEY] {
            for start in 0..=credential.len() - PIECE {
                let text = format!("before {} after", &credential[start..start + PIECE]);
                assert_eq!(found(&text), Some(Form::Raw), "{text}");
            }
        }
        let canary = Canary::of([TOKEN]).expect("one credential");
        let sighting = canary.find(format!("token={TOKEN}").as_bytes()).expect("a credential");
        assert_eq!(sighting.at, 6);
        assert!(sighting.to_string().contains("token=cfut_"), "{sighting}");
    }

    #[test]
    fn hexadecimal_digits_are_a_piece_only_when_they_are_too_many_for_chance() {
        let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234";
        let canary = Canary::of([key]).expect("one credential");
        let uuid = format!("{}-cc53-4154-b0a5-{}", &key[..PIECE], &key[10..22]);
        assert_eq!(canary.find(uuid.as_bytes()), None);
        for start in 0..=key.len() - DIGITS {
            assert_eq!(canary.find(&key.as_bytes()[start..start + DIGITS - 1]), None);
            assert!(canary.find(&key.as_bytes()[start..start + DIGITS]).is_some(), "from {start}");
        }
        let mixed = Canary::of(["cfut_0f1e2d3c4b5"]).expect("one credential");
        assert!(mixed.find(b"_0f1e2d3").is_some(), "one other byte is enough");
    }

    #[test]
    fn the_encoding_of_the_tests_is_base64() {
        assert_eq!(encoded("Many hands make light work.", STANDARD), "TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsu");
        assert_eq!(encoded("\u{3ff}\u{3fe}?", URL_SAFE), "z7_Pvj8");
    }

    #[test]
    fn base64_is_found_at_each_of_its_three_alignments_and_in_both_alphabets() {
        for credential in [TOKEN, KEY] {
            for digits in [STANDARD, URL_SAFE] {
                for before in ["", "B", "Be", "Bearer ", "user:"] {
                    // Whole, and cut to a piece in the middle of other data.
                    for part in [credential, &credential[3..15]] {
                        let text = encoded(&format!("{before}{part} and more"), digits);
                        assert_eq!(found(&text), Some(Form::Base64), "{before}{part}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn percent_encoding_is_found_whether_partial_or_whole() {
        let partial = KEY.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('&', "%26");
        let partial = partial.replace('?', "%3F").replace('=', "%3D");
        assert_eq!(found(format!("https://example.com/?key={partial}")), Some(Form::Percent));
        for whole in [|b: u8| format!("%{b:02x}"), |b: u8| format!("%{b:02X}")] {
            let text: String = TOKEN.bytes().map(whole).collect();
            assert_eq!(found(&text), Some(Form::Percent), "{text}");
        }
    }

    #[test]
    fn hexadecimal_digits_of_either_case_are_found() {
        for hex in [|b: u8| format!("{b:02x}"), |b: u8| format!("{b:02X}")] {
            let text: String = TOKEN.bytes().skip(5).take(PIECE).map(hex).collect();
            assert_eq!(found(format!("[{text}]")), Some(Form::Hex), "{text}");
        }
    }

    #[test]
    fn lists_of_numbers_are_found_as_rust_json_and_the_shell_write_them() {
        let bytes = TOKEN.as_bytes().to_vec();
        let spaced: Vec<_> = bytes.iter().map(ToString::to_string).collect();
        for text in [format!("{bytes:?}"), format!("{:?}", &bytes[9..17]), spaced.join(","), spaced.join(" ")] {
            assert_eq!(found(&text), Some(Form::Decimal), "{text}");
        }
    }

    #[test]
    fn megabytes_are_searched_in_no_time() {
        let mut text = "a line of a log that tells of many things, and of no credential\n".repeat(160_000);
        let started = std::time::Instant::now();
        assert_eq!(found(&text), None);
        text.push_str(&TOKEN[10..18]);
        assert_eq!(found(&text), Some(Form::Raw));
        assert!(started.elapsed().as_secs() < 10, "{:?} for twice {} bytes", started.elapsed(), text.len());
    }

    #[test]
    fn only_what_may_be_a_credential_is_noted() {
        for value in ["token", "two words that are long enough", "somebody.with.a.long.name@example.com", " \n "] {
            watch_for(value);
            assert!(complaint("here", Ok(value)).is_none(), "{value}");
        }
        let value = "cfut_5Rt9Yu3Io7Pa1Sd5Fg9Hj3Kl7Zx1Cv";
        assert!(complaint("here", Ok(value)).is_none(), "nobody has noted it");
        watch_for(&format!("\n {value} \n"));
        let said = complaint("here", Ok(format!("<{value}>"))).unwrap_or_default();
        assert!(said.starts_with("here: a piece of a credential (Raw) at byte 1"), "{said}");
        let unread: Result<Vec<u8>> = Err(crate::Error::new("no such file"));
        assert_eq!(complaint("there", unread).unwrap_or_default(), "there could not be searched: no such file");
    }
}
