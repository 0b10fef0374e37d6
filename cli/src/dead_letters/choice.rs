//! Which letters are meant, by what they say.
use super::args::{FilterArgs, ReasonWord};
use super::letters::Found;
use super::shown::step_and_output;

impl FilterArgs {
    /// Whether a letter is among those that are meant.
    pub(super) fn takes(&self, found: &Found) -> bool {
        let letter = &found.letter;
        let is_there = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let (step, output) = step_and_output(found);
        let is_wanted = |reason: &ReasonWord| reason.0 == letter.reason;
        (self.reason.is_empty() || self.reason.iter().any(is_wanted))
            && is_there(&self.step, step.as_deref())
            && is_there(&self.output, output.as_deref())
            && is_there(&self.source, Some(&letter.input))
            && self.from.is_none_or(|from| found.offset >= from)
            && self.to.is_none_or(|to| found.offset <= to)
            && self.since.is_none_or(|since| found.at_ms >= since.0)
            && !(self.unsent && found.sent_ms.is_some())
    }
}
