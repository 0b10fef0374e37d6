//! A server as a child that never outlives this process, however that ends.
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::{
    server::{ServerError, io},
    usage,
};

/// Runs the rest of its arguments beside a pipe from us: says the server's process id, and ends it when told to or when the
/// pipe ends, which it does when this process dies, by SIGKILL too. In the latter case nobody else removes the folder.
///
/// Killing takes the server's children along, and waits for them: a PostgreSQL whose first process alone is gone has others that
/// hold its memory.
const WATCH: &str = r#"
folder=$1 log=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
echo $!
end() {
  children=$(sed -n "s/^\([0-9]*\) (.*) [A-Z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null)
  kill -KILL $1 $children 2>/dev/null
  wait $1 2>/dev/null
  for child in $children; do
    while [ -r /proc/$child/stat ] && ! grep -q ') Z ' /proc/$child/stat 2>/dev/null; do sleep 0.01; done
  done
}
read -r how
case $how in
  KILL) end $! ;;
  ?*) kill -s "$how" $! ;;
  *) end $!; rm -rf "$folder"; exit ;;
esac
wait $! 2>/dev/null
"#;
/// How much of a log is worth showing, lines.
const LINES: usize = 40;

/// A server and the shell that watches over it.
pub(crate) struct Process {
    watch: Child,
    /// None once the shell was told how to end.
    orders: Option<ChildStdin>,
    id: u32,
}

impl Process {
    /// Starts a server; what it prints is added to `log`, and `folder` is removed when this process dies.
    pub(crate) fn spawn(server: Command, folder: &Path, log: &Path) -> Result<Self, ServerError> {
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .args([folder, log])
            .arg(server.get_program())
            .args(server.get_args())
            // Ctrl-C is for us: the shell goes when the pipe ends.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io("starting a shell for the server"))?;
        let orders = watch.stdin.take();
        let mut id = String::new();
        if let Some(said) = watch.stdout.take() {
            BufReader::new(said)
                .read_line(&mut id)
                .map_err(io("reading the server's process id"))?;
        }
        let id = id.trim().parse().map_err(|error| ServerError::Io {
            doing: "reading the server's process id",
            error: std::io::Error::other(error),
        })?;
        Ok(Self { watch, orders, id })
    }

    /// Asks the server to end, by the signal that it takes for that.
    pub(crate) fn terminate(&mut self, signal: &str) -> Result<(), ServerError> {
        self.order(signal)
    }

    /// Ends the server with its children and waits for that.
    pub(crate) fn kill(mut self) -> Result<(), ServerError> {
        self.order("KILL")?;
        self.watch
            .wait()
            .map(drop)
            .map_err(io("waiting for the server to end"))
    }

    /// Whether the server has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool, ServerError> {
        if self.orders.is_some() {
            // Until it is told something, the shell waits for that and leaves an ended server as a zombie.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id));
            return Ok(stat.map_or(true, |stat| stat.contains(") Z ")));
        }
        let status = self.watch.try_wait();
        Ok(status.map_err(io("asking after the server"))?.is_some())
    }

    /// Sends a signal to the server and then to its children.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), ServerError> {
        if !send(signal, self.id)? {
            return Err(ServerError::Io {
                doing: "sending the server a signal",
                error: std::io::Error::other("it is not there"),
            });
        }
        // A child may have ended since.
        for child in usage::children(self.id) {
            send(signal, child)?;
        }
        Ok(())
    }

    /// The server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    fn order(&mut self, how: &str) -> Result<(), ServerError> {
        self.orders.take().map_or(Ok(()), |mut orders| {
            writeln!(orders, "{how}").map_err(io("telling the server to end"))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A shell that is gone has nothing left to end.
        let _ = self.order("KILL");
        let _ = self.watch.wait();
    }
}

/// Sends a signal; whether there was a process to take it.
fn send(signal: &str, process: u32) -> Result<bool, ServerError> {
    let status = Command::new("kill")
        .args(["-s", signal, &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .map_err(io("sending the server a signal"))?;
    Ok(status.success())
}

/// What a process is called by the system: the name of its program, cut after 15 bytes; none where it has ended.
pub(crate) fn name(id: &str) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The last lines of a file, as far as there is one.
pub(crate) fn end_of(log: &Path) -> String {
    let lines: Vec<String> = File::open(log)
        .map(|file| BufReader::new(file).lines().map_while(Result::ok).collect())
        .unwrap_or_default();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
