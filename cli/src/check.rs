//! `tidewheel check`: judges, and runs nothing.
use std::io::Write as _;

use tidewheel_planner::Problem;
use tidewheel_planner::problem;

use crate::args::{CheckArgs, CheckFormat};
use crate::failure::{Exit, Failure};

pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let (set, plans, problems) = tidewheel_planner::check(&args.paths);
    let mut out = std::io::stdout().lock();
    match args.output_format {
        CheckFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &problems).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        CheckFormat::Text => {
            if !problems.is_empty() {
                eprintln!("{}", problem::render(&problems));
            }
            if args.explain {
                for plan in &plans {
                    writeln!(out, "{plan}\n")?;
                }
            }
        }
    }
    if problems.iter().any(Problem::is_error) {
        return Ok(Exit::Refused);
    }
    if args.output_format == CheckFormat::Text && !args.explain {
        let (sources, pipelines, sinks) = (
            set.event_sources.len(),
            set.pipelines.len(),
            set.sinks.len(),
        );
        let counted = |count: usize, kind: &str| {
            format!("{count} {kind}{}", if count == 1 { "" } else { "s" })
        };
        let kinds = [
            counted(sources, "EventSource"),
            counted(pipelines, "Pipeline"),
            counted(sinks, "Sink"),
        ];
        writeln!(out, "good: {}", kinds.join(", "))?;
    }
    Ok(Exit::Good)
}
