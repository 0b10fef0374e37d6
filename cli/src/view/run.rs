//! Shows snapshots as they come, until told to stop or until the person at the terminal quits.
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::lines::Told;
use super::model::Model;
use super::screen;
use super::snapshot::Snapshot;

/// How often status lines are printed where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(2);
/// How long a wait for a key lasts before it is seen that the view has ended.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Whether there is a terminal that [`run`] draws on.
pub(crate) fn draws() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Shows `snapshots` until `stop`, or until their sender is gone. On a terminal, `q` and Ctrl-C cancel `stop`.
///
/// While a terminal is drawn on, nothing else may be printed on it: what there is to say goes into [`Snapshot::notices`].
///
/// # Errors
/// The terminal's.
pub(crate) async fn run(
    snapshots: watch::Receiver<Snapshot>,
    stop: CancellationToken,
) -> io::Result<()> {
    if draws() {
        on_terminal(snapshots, stop).await
    } else {
        as_lines(snapshots, stop).await
    }
}

async fn on_terminal(
    snapshots: watch::Receiver<Snapshot>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let outcome = draw_until_stopped(&mut terminal, snapshots, &stop).await;
    ratatui::try_restore()?;
    outcome
}

async fn draw_until_stopped(
    terminal: &mut DefaultTerminal,
    mut snapshots: watch::Receiver<Snapshot>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut model = Model::default();
    model.update(snapshots.borrow_and_update().clone());
    let mut inputs = listen();
    loop {
        terminal.draw(|frame| screen::draw(&model, frame))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = snapshots.changed() => match changed {
                Ok(()) => model.update(snapshots.borrow_and_update().clone()),
                Err(_) => return Ok(()),
            },
            Some(input) = inputs.recv() => match input? {
                Input::Quit => stop.cancel(),
                Input::Next => model.look_at_next(),
                Input::Previous => model.look_at_previous(),
                Input::Redraw => {}
            },
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    Next,
    Previous,
    /// The terminal has another size.
    Redraw,
}

impl Input {
    /// What an event of the terminal asks for, if anything.
    pub(super) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Self::of_key(key),
            Event::Resize(..) => Some(Self::Redraw),
            _ => None,
        }
    }

    fn of_key(key: &KeyEvent) -> Option<Self> {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Self::Quit),
            KeyCode::Char('q') | KeyCode::Esc => Some(Self::Quit),
            KeyCode::Tab | KeyCode::Right | KeyCode::Down => Some(Self::Next),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Up => Some(Self::Previous),
            _ => None,
        }
    }
}

/// Reads the keyboard on a thread of its own, which ends soon after the receiver is dropped.
fn listen() -> mpsc::Receiver<io::Result<Input>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let input = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read().map(|event| Input::of(&event)),
                Err(error) => Err(error),
            };
            let failed = input.is_err();
            let told = input
                .transpose()
                .is_none_or(|input| sender.blocking_send(input).is_ok());
            if failed || !told {
                return;
            }
        }
    });
    receiver
}

async fn as_lines(
    mut snapshots: watch::Receiver<Snapshot>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut model = Model::default();
    let mut told = Told::default();
    let mut ticks = tokio::time::interval_at(Instant::now() + LINES_EVERY, LINES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        print(&told.news(&snapshot))?;
        model.update(snapshot);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => print(&told.changes(&model))?,
            changed = snapshots.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

fn print(lines: &[String]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    lines
        .iter()
        .try_for_each(|line| writeln!(stdout, "{line}"))?;
    stdout.flush()
}
