//! Which letters are meant, by what they say.
use tidewheel_engine::wire::sent_again::Target;

use super::args::FilterArgs;
use super::letters::Found;

impl FilterArgs {
    /// Whether a letter is among those that are meant.
    pub(super) fn takes(&self, found: &Found) -> bool {
        let letter = &found.letter;
        let is_there = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let target = letter.target();
        let (step, output) = match &target {
            Some(Target::Step(name)) => (Some(name.as_str()), None),
            Some(Target::Output(name)) => (None, Some(name.as_str())),
            None => (None, None),
        };
        (self.reason.is_empty() || self.reason.contains(&letter.reason))
            && is_there(&self.step, step)
            && is_there(&self.output, output)
            && is_there(&self.source, Some(&letter.input))
            && self.from.is_none_or(|from| found.offset >= from)
            && self.to.is_none_or(|to| found.offset <= to)
            && self.since.is_none_or(|since| found.at_ms >= since.0)
            && !(self.unsent && found.sent_ms.is_some())
    }
}
