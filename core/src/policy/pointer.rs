//! Where an obligation points: a JSON Pointer (RFC 6901) in which `*` stands for any one index or member.
//!
//! Owns the parse. A member that is called `*` cannot be named alone. Never looks at a document.

/// The longest pointer accepted, in bytes.
const BYTES_MAX: usize = 1_024;

/// A parsed pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pointer {
    steps: Box<[Step]>,
    text: Box<str>,
}

/// One step down a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Every element or member.
    Any,
    /// The member of this name; in an array, the element of this index.
    Named(Box<str>),
}

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PointerError {
    /// A `~` that is neither `~0` nor `~1`.
    #[error("a pointer holds a `~` that escapes nothing")]
    Escape,
    /// Neither empty nor beginning with `/`.
    #[error("a pointer does not begin with `/`")]
    Start,
    /// More than 1,024 bytes.
    #[error("a pointer is too long")]
    TooLong,
}

impl Pointer {
    /// Reads `text`; the empty text points at the whole document.
    ///
    /// # Errors
    /// [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if BYTES_MAX < text.len() {
            return Err(PointerError::TooLong);
        }
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err(PointerError::Start);
        }
        let steps = parts.map(step).collect::<Result<_, _>>()?;
        Ok(Self {
            steps,
            text: text.into(),
        })
    }

    /// The pointer as the policy wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    /// The array index that this step names: digits without a leading zero (RFC 6901 section 4).
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Any => None,
            Self::Named(name) => {
                let canonical = &**name == "0" || !name.starts_with('0');
                let digits = name.bytes().all(|byte| byte.is_ascii_digit());
                name.parse().ok().filter(|_| canonical && digits)
            }
        }
    }
}

fn step(part: &str) -> Result<Step, PointerError> {
    if part == "*" {
        return Ok(Step::Any);
    }
    let mut name = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(next) = rest.next() {
        match next {
            '~' => match rest.next() {
                Some('0') => name.push('~'),
                Some('1') => name.push('/'),
                _ => return Err(PointerError::Escape),
            },
            other => name.push(other),
        }
    }
    Ok(Step::Named(name.into_boxed_str()))
}
